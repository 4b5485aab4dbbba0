//! Who asks, and whether they may.
//!
//! | needs | from this machine | from elsewhere |
//! |---|---|---|
//! | nothing | everybody | everybody |
//! | viewer | everybody, or a token | a token |
//! | operator, admin | a token | a token |
//!
//! From this machine: over a Unix socket, or over loopback by a name that no page of a stranger can have. From elsewhere only
//! tokens of keys in the configuration count: who opens the API to a network says so there. A token that is shown has to
//! be good, also where none is needed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AdminState;
use super::problem::Problem;
use super::role::{Need, Role};
use super::token::Keyring;

/// Who the audit trail names where no token was asked for.
const ANONYMOUS: &str = "anonymous";
/// Parameters of a query by which people try to sign in. They would stand in logs and histories.
const TOKEN_PARAMETERS: [&str; 4] = ["access_token", "token", "jwt", "authorization"];

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    Unix,
}

impl Peer {
    fn is_here(self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix => true,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    /// `None` without a token.
    pub role: Option<Role>,
    pub peer: Peer,
}

/// Lets a request through whose caller may do what the path needs, and tells the handler who it is.
pub async fn guard(State((state, need)): State<(Arc<AdminState>, Need)>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    // Without one the server is put together wrongly; nobody is trusted for that.
    let peer = peer.unwrap_or(Peer::Tcp(SocketAddr::from(([0, 0, 0, 0], 0))));
    let Need::Role(needed) = need else { return next.run(request).await };
    let asked = Asked { needed, peer, headers: request.headers(), query: request.uri().query().unwrap_or_default() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match decide(&state.keys.load(), &asked, now) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(denied) => {
            let action = format!("{} {}", request.method(), request.uri().path());
            state.audit.refused(&denied.name, &peer.to_string(), &action, &denied.problem.detail);
            denied.problem.into_response()
        }
    }
}

/// What the decision depends on.
struct Asked<'a> {
    needed: Role,
    peer: Peer,
    headers: &'a HeaderMap,
    query: &'a str,
}

struct Denied {
    /// Whom a good token named.
    name: String,
    problem: Problem,
}

fn decide(ring: &Keyring, asked: &Asked<'_>, now: u64) -> Result<Caller, Denied> {
    let &Asked { needed, peer, headers, query } = asked;
    let denied = |name: &str, problem| Denied { name: name.to_owned(), problem };
    let names = query.split('&').filter_map(|pair| pair.split('=').next());
    if names.into_iter().any(|name| TOKEN_PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known))) {
        let detail = "a token in a URL stands in logs afterwards: send it as `Authorization: Bearer`";
        return Err(denied(ANONYMOUS, Problem::new(StatusCode::BAD_REQUEST, detail)));
    }
    let Some(token) = bearer(headers).map_err(|detail| denied(ANONYMOUS, unauthorized(Some(detail))))? else {
        if needed == Role::Viewer && peer.is_here() && !is_forwarded(headers) && names_here(peer, headers) {
            return Ok(Caller { name: ANONYMOUS.to_owned(), role: None, peer });
        }
        return Err(denied(ANONYMOUS, unauthorized(None)));
    };
    let bearer =
        ring.verify(token, now).map_err(|refusal| denied(ANONYMOUS, unauthorized(Some(&refusal.to_string()))))?;
    if bearer.local && !peer.is_here() {
        let detail = "the key of this token counts on Baton's own machine only: configure `admin.keys`";
        return Err(denied(&bearer.subject, unauthorized(Some(detail))));
    }
    if bearer.role < needed {
        let detail = format!("this needs the role {needed}; the token has {}", bearer.role);
        let problem = Problem::new(StatusCode::FORBIDDEN, detail)
            .challenge(format!("Bearer realm=\"baton\", error=\"insufficient_scope\", scope=\"{needed}\""));
        return Err(denied(&bearer.subject, problem));
    }
    Ok(Caller { name: bearer.subject, role: Some(bearer.role), peer })
}

/// A 401 (RFC 6750, section 3).
fn unauthorized(wrong: Option<&str>) -> Problem {
    let problem = |detail: &str, challenge: String| Problem::new(StatusCode::UNAUTHORIZED, detail).challenge(challenge);
    match wrong {
        // The descriptions are texts of this program without a quote.
        Some(wrong) => {
            problem(wrong, format!("Bearer realm=\"baton\", error=\"invalid_token\", error_description=\"{wrong}\""))
        }
        None => problem(
            "this needs a token: send one that `baton token` made, as `Authorization: Bearer`",
            "Bearer realm=\"baton\"".to_owned(),
        ),
    }
}

/// The token of a request, if it has one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("the request has several Authorization headers");
    }
    let text = value.to_str().map_err(|_| "the Authorization header is not text")?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err("the Authorization header is not `Bearer` and a token"),
    }
}

/// Whether a proxy on this machine passes the request on for somebody else.
fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "via", "x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
}

/// Whether the caller named this machine by an address or as `localhost`: a page of a stranger can make its own name lead
/// here, and would else read with its visitor's access. No page reaches a Unix socket.
fn names_here(peer: Peer, headers: &HeaderMap) -> bool {
    if peer == Peer::Unix {
        return true;
    }
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::token::Key;

    const NOW: u64 = 1_800_000_000;
    const HERE: &str = "127.0.0.1:5000";
    const ELSEWHERE: &str = "10.0.0.7:5000";

    fn ring(local: bool) -> Keyring {
        let key = Key { id: "a".to_owned(), secret: vec![7; 32], local };
        Keyring { keys: vec![key], audience: "baton-admin".to_owned() }
    }

    fn headers(host: &str, authorization: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    fn ask(ring: &Keyring, needed: Role, peer: &str, token: Option<&str>) -> Result<Caller, StatusCode> {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let headers = headers("127.0.0.1:9900", authorization.as_deref());
        let asked = Asked { needed, peer: Peer::Tcp(peer.parse().unwrap()), headers: &headers, query: "" };
        decide(ring, &asked, NOW).map_err(|denied| denied.problem.status)
    }

    #[test]
    fn without_a_token_this_machine_reads_and_nobody_else_does_anything() {
        let ring = ring(false);
        assert_eq!(ask(&ring, Role::Viewer, HERE, None).map(|caller| caller.role), Ok(None));
        assert_eq!(ask(&ring, Role::Viewer, "[::ffff:127.0.0.1]:1", None).map(|caller| caller.role), Ok(None));
        assert_eq!(ask(&ring, Role::Viewer, ELSEWHERE, None), Err(StatusCode::UNAUTHORIZED));
        for needed in [Role::Operator, Role::Admin] {
            assert_eq!(ask(&ring, needed, HERE, None), Err(StatusCode::UNAUTHORIZED));
        }
    }

    #[test]
    fn a_role_may_what_it_may_and_all_below() {
        let ring = ring(false);
        for has in Role::ALL {
            let token = ring.issue("ann", has, NOW, 60).unwrap();
            for needed in Role::ALL {
                let expected = if has < needed { Err(StatusCode::FORBIDDEN) } else { Ok(Some(has)) };
                let got = ask(&ring, needed, ELSEWHERE, Some(&token)).map(|caller| caller.role);
                assert_eq!(got, expected, "{has} {needed}");
            }
        }
    }

    #[test]
    fn a_key_that_baton_made_counts_on_its_own_machine_only() {
        let ring = ring(true);
        let token = ring.issue("ann", Role::Admin, NOW, 60).unwrap();
        assert!(ask(&ring, Role::Admin, HERE, Some(&token)).is_ok());
        assert_eq!(ask(&ring, Role::Viewer, ELSEWHERE, Some(&token)), Err(StatusCode::UNAUTHORIZED));
    }

    #[test]
    fn a_bad_token_is_no_better_where_none_is_needed() {
        assert_eq!(ask(&ring(false), Role::Viewer, HERE, Some("x")), Err(StatusCode::UNAUTHORIZED));
        for wrong in ["Basic YTpi", "Bearer", "x"] {
            assert!(bearer(&headers("a", Some(wrong))).is_err(), "{wrong}");
        }
        let mut twice = headers("a", Some("Bearer a"));
        twice.append(header::AUTHORIZATION, "Bearer b".parse().unwrap());
        assert!(bearer(&twice).is_err());
        assert_eq!(bearer(&headers("a", Some("bEARER abc"))), Ok(Some("abc")));
    }

    #[test]
    fn a_page_whose_name_leads_here_reads_nothing() {
        let reads = |host: &str| {
            let headers = headers(host, None);
            let peer = Peer::Tcp(HERE.parse().unwrap());
            decide(&ring(false), &Asked { needed: Role::Viewer, peer, headers: &headers, query: "" }, NOW).is_ok()
        };
        for host in ["127.0.0.1:9900", "127.0.0.1", "[::1]:9900", "localhost:9900", "LOCALHOST"] {
            assert!(reads(host), "{host}");
        }
        for host in ["evil.example:9900", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9900", ""] {
            assert!(!reads(host), "{host}");
        }
        assert!(!names_here(Peer::Tcp(HERE.parse().unwrap()), &HeaderMap::new()));
        assert!(names_here(Peer::Unix, &HeaderMap::new()));
    }

    #[test]
    fn what_a_proxy_passes_on_is_not_from_this_machine() {
        let mut headers = headers("127.0.0.1:9900", None);
        headers.insert("x-forwarded-for", "10.0.0.7".parse().unwrap());
        let peer = Peer::Tcp(HERE.parse().unwrap());
        let asked = Asked { needed: Role::Viewer, peer, headers: &headers, query: "" };
        assert!(decide(&ring(false), &asked, NOW).is_err());
    }

    #[test]
    fn a_token_in_the_address_is_refused_however_good() {
        let ring = ring(false);
        let token = ring.issue("ann", Role::Admin, NOW, 60).unwrap();
        let authorization = format!("Bearer {token}");
        let headers = headers("127.0.0.1", Some(&authorization));
        let peer = Peer::Tcp(HERE.parse().unwrap());
        for query in [format!("access_token={token}"), format!("limit=1&Token={token}")] {
            let asked = Asked { needed: Role::Viewer, peer, headers: &headers, query: &query };
            let denied = decide(&ring, &asked, NOW).map_err(|denied| denied.problem.status);
            assert_eq!(denied, Err(StatusCode::BAD_REQUEST));
        }
    }
}
