//! Reads `tests/corpus/smuggling`; the form of its files is told there.

use std::path::Path;

pub struct Case {
    /// With the file it stands in.
    pub name: String,
    pub request: Vec<u8>,
    pub expected: Expected,
}

pub enum Expected {
    /// Answered by Baton itself, which then closes the connection or not.
    Refused {
        status: String,
        kept: bool,
    },
    Passed(Passed),
}

#[derive(Default)]
pub struct Passed {
    pub method: String,
    pub target: Vec<u8>,
    pub body: Vec<u8>,
    /// `Name: value`.
    pub has: Vec<String>,
    /// Names in lower case.
    pub lacks: Vec<String>,
    /// The connection ends behind the answer.
    pub closes: bool,
    /// The lines of the head as they were sent.
    pub untouched: Option<Vec<Vec<u8>>>,
}

/// All cases of all files.
pub fn read() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/smuggling");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    files.iter().flat_map(|path| cases(path)).collect()
}

fn cases(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap();
    let file = path.file_stem().unwrap().to_string_lossy();
    let mut cases = text.split("=== ");
    let comment = cases.next().unwrap();
    assert!(comment.lines().all(|line| line.starts_with('#')), "{file} begins with {comment:?}");
    cases.map(|case| read_case(case, &file).unwrap_or_else(|| panic!("no case of {file}: {case}"))).collect()
}

fn read_case(text: &str, file: &str) -> Option<Case> {
    let (name, rest) = text.split_once('\n')?;
    let (lines, expected) = rest.split_once("--- ")?;
    let request: Vec<u8> = lines.lines().flat_map(bytes_of_line).collect();
    let expected = read_expected(expected, &request)?;
    Some(Case { name: format!("{file}: {name}"), request, expected })
}

fn read_expected(text: &str, request: &[u8]) -> Option<Expected> {
    let (first, rest) = text.split_once('\n')?;
    let mut passed = Passed::default();
    match first.split(' ').collect::<Vec<_>>()[..] {
        ["untouched"] => {
            let end = request.windows(4).position(|window| window == b"\r\n\r\n")?;
            let lines: Vec<Vec<u8>> = request[..end].split(|byte| *byte == b'\n').map(without_return).collect();
            let mut words = lines.first()?.split(|byte| *byte == b' ');
            passed.method = String::from_utf8(words.next()?.to_vec()).ok()?;
            passed.target = words.next()?.to_vec();
            passed.body = request[end + 4..].to_vec();
            passed.untouched = Some(lines);
        }
        [status] => return Some(Expected::Refused { status: status.to_owned(), kept: false }),
        [status, "kept"] => return Some(Expected::Refused { status: status.to_owned(), kept: true }),
        [method, target] => (passed.method, passed.target) = (method.to_owned(), unescaped(target)),
        _ => return None,
    }
    for line in rest.lines() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("body", text) => passed.body = unescaped(text),
            ("has", text) => passed.has.push(text.to_owned()),
            ("lacks", text) => passed.lacks.push(text.to_owned()),
            ("closes", "") => passed.closes = true,
            _ => return None,
        }
    }
    Some(Expected::Passed(passed))
}

fn without_return(line: &[u8]) -> Vec<u8> {
    line.strip_suffix(b"\r").unwrap_or(line).to_vec()
}

fn bytes_of_line(line: &str) -> Vec<u8> {
    match line.strip_suffix("\\c") {
        Some(line) => unescaped(line),
        None => [&unescaped(line)[..], b"\r\n"].concat(),
    }
}

/// The bytes that a text of the corpus stands for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        if first == '{'
            && let Some((inner, behind)) = after.split_once('}')
            && let Some((inner, count)) = inner.rsplit_once(" x ")
            && let Ok(count) = count.parse::<usize>()
        {
            bytes.extend(unescaped(inner).repeat(count));
            rest = behind;
            continue;
        }
        rest = after;
        if first != '\\' {
            bytes.extend(first.to_string().bytes());
            continue;
        }
        let code = rest.chars().next().unwrap_or_else(|| panic!("a backslash ends {text}"));
        rest = &rest[1..];
        bytes.push(match code {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            's' => b' ',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let (digits, behind) = rest.split_at(2);
                rest = behind;
                u8::from_str_radix(digits, 16).unwrap()
            }
            _ => panic!("\\{code} in {text}"),
        });
    }
    bytes
}
