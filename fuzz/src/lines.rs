//! A reader of heads that shares no code with Baton's and takes nothing but the plainest form. What Baton writes has to have it.

/// A head, taken apart.
#[derive(Debug)]
pub struct Lines<'h> {
    pub first: &'h [u8],
    /// Names in lower case, and values without blanks around them.
    pub fields: Vec<(String, &'h [u8])>,
}

/// Reads a head that ends with its blank line.
///
/// # Panics
/// When it is one that anybody could read in another way.
pub fn read(head: &[u8]) -> Lines<'_> {
    let text = head.strip_suffix(b"\r\n\r\n").expect("a head ends with a blank line");
    let mut lines = split(text).into_iter();
    let first = lines.next().expect("a head has a first line");
    Lines { first, fields: lines.map(field).collect() }
}

/// Lines of fields, each with its end.
pub fn fields(text: &[u8]) -> Vec<(String, &[u8])> {
    match text.strip_suffix(b"\r\n") {
        Some(text) => split(text).into_iter().map(field).collect(),
        None => {
            assert!(text.is_empty(), "a line has no end");
            Vec::new()
        }
    }
}

fn split(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    for line in &lines {
        assert!(!line.is_empty(), "a blank line inside a head");
        assert!(!line.iter().any(|byte| b"\r\n\0".contains(byte)), "a line end or a zero byte inside a line");
    }
    lines
}

fn field(line: &[u8]) -> (String, &[u8]) {
    let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
    let name = &line[..colon];
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    assert!(!name.is_empty() && name.iter().all(token), "a name that is none");
    (String::from_utf8_lossy(name).to_ascii_lowercase(), line[colon + 1..].trim_ascii())
}

impl<'h> Lines<'h> {
    pub fn values(&self, name: &str) -> Vec<&'h [u8]> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect()
    }

    /// The one length that it tells, `None` for none; `Err` for chunks.
    ///
    /// # Panics
    /// When it tells two, or one in a form that is read in more than one way.
    pub fn framing(&self) -> Result<Option<u64>, ()> {
        let (lengths, codings) = (self.values("content-length"), self.values("transfer-encoding"));
        assert!(lengths.len() + codings.len() <= 1, "more than one framing");
        if let Some(coding) = codings.first() {
            assert_eq!(*coding, b"chunked");
            return Err(());
        }
        Ok(lengths.first().map(|length| {
            let text = std::str::from_utf8(length).expect("digits");
            assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "a length that is not digits alone");
            assert!(text == "0" || !text.starts_with('0'), "a length that may be octal");
            text.parse().expect("a length that fits")
        }))
    }

    /// Fields as a CGI program sees them: hyphens and underscores are one.
    pub fn as_variables(&self, name: &str) -> usize {
        self.fields.iter().filter(|(known, _)| known.replace('_', "-") == name).count()
    }
}
