//! What a route changes on the way, as keys and values.

use super::super::model::{
    Compression, CompressionLevel, Config, HeaderRule, HeaderRules, HostRewrite, Mirror, Passage, PathRewrite, Rewrite,
};
use super::super::units::show_size;
use super::{Values, list, some, word};

pub fn values(config: &Config, passage: &Passage) -> Values {
    let Passage { request_headers, response_headers, rewrite, mirror, compression } = passage;
    let mut values = Vec::new();
    if let Some(rules) = request_headers {
        values.extend(headers(["request_headers.remove", "request_headers.set", "request_headers.add"], rules));
    }
    if let Some(rules) = response_headers {
        values.extend(headers(["response_headers.remove", "response_headers.set", "response_headers.add"], rules));
    }
    if let Some(rewrite) = rewrite {
        let Rewrite { path, host } = &**rewrite;
        match path {
            Some(PathRewrite::Exact(path)) => values.push(("rewrite.path", some(path))),
            Some(PathRewrite::Prefix { from: _, to }) => values.push(("rewrite.path_prefix", Some(format!("{to}/")))),
            None => {}
        }
        match host {
            Some(HostRewrite::Name(name)) => values.push(("rewrite.host", some(name))),
            Some(HostRewrite::Master) => values.push(("rewrite.host", some("upstream"))),
            None => {}
        }
    }
    if let Some(Mirror { upstream, percent }) = mirror {
        values.push(("mirror.upstream", config.upstreams.get(*upstream).map(|upstream| upstream.name.clone())));
        values.push(("mirror.percent", some(percent)));
    }
    if let Some(rules) = compression {
        let Compression { algorithms, min_bytes, content_types, level } = &**rules;
        values.push(("compression.algorithms", list(algorithms, |coding| coding.name().to_owned())));
        values.push(("compression.min_bytes", Some(show_size(*min_bytes))));
        values.push(("compression.content_types", list(content_types, Clone::clone)));
        values.push(("compression.level", word(&CompressionLevel::ALL, *level)));
    }
    values
}

/// Values of these are often credentials, so only the names are told.
fn headers(keys: [&'static str; 3], rules: &HeaderRules) -> Values {
    let HeaderRules { remove, set, add } = rules;
    let [remove_key, set_key, add_key] = keys;
    let names = |rules: &[HeaderRule]| list(rules, |HeaderRule { name, value: _ }| name.clone());
    vec![(remove_key, list(remove, Clone::clone)), (set_key, names(set)), (add_key, names(add))]
}
