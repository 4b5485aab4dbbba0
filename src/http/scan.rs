//! Where a head ends, found without reading any byte twice.
//!
//! The search goes from line feed to line feed, remembers how far it came, and refuses a line feed without its carriage
//! return at once: waiting for a blank line that such a sender will never write would end in a time-out instead.

use memchr::memchr;

/// How far the search for the end of a head has come. One value for each head.
#[derive(Debug, Default, Clone, Copy)]
pub struct HeadScan {
    /// Bytes looked at.
    seen: usize,
    /// Where the current line begins.
    line_start: usize,
    /// Blank lines before the first line of the head.
    leading_blank_lines: usize,
}

/// A line of the head ends in a bare line feed, or too many blank lines precede it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLine;

/// RFC 9112 section 2.2 asks servers to ignore at least one blank line before a request.
const LEADING_BLANK_LINES_MAX: usize = 4;

impl HeadScan {
    /// Looks at what came since the last call. `bytes` is everything received so far, from the same start. Returns the
    /// length of the head with its blank line when it is complete.
    ///
    /// # Errors
    /// [`BadLine`] as soon as it is seen.
    pub fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadLine> {
        while let Some(offset) = memchr(b'\n', &bytes[self.seen..]) {
            let line_feed = self.seen + offset;
            if line_feed == self.line_start || bytes[line_feed - 1] != b'\r' {
                return Err(BadLine);
            }
            let blank = line_feed - 1 == self.line_start;
            let first = self.line_start == 2 * self.leading_blank_lines;
            self.seen = line_feed + 1;
            self.line_start = self.seen;
            if blank && first {
                self.leading_blank_lines += 1;
                if self.leading_blank_lines > LEADING_BLANK_LINES_MAX {
                    return Err(BadLine);
                }
            } else if blank {
                return Ok(Some(self.seen));
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_bytewise(bytes: &[u8]) -> Result<Option<usize>, BadLine> {
        let mut scan = HeadScan::default();
        for end in 0..=bytes.len() {
            if let Some(length) = scan.find_end(&bytes[..end])? {
                return Ok(Some(length));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_head_ends_at_its_first_blank_line_however_it_is_cut() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
        assert_eq!(HeadScan::default().find_end(bytes), Ok(Some(27)));
        assert_eq!(scan_bytewise(bytes), Ok(Some(27)));
    }

    #[test]
    fn blank_lines_before_a_request_are_skipped_but_not_without_end() {
        let bytes = b"\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(scan_bytewise(bytes), Ok(Some(bytes.len())));
        assert_eq!(scan_bytewise(&b"\r\n".repeat(5)), Err(BadLine));
    }

    #[test]
    fn a_bare_line_feed_is_refused_as_soon_as_it_is_seen() {
        assert_eq!(scan_bytewise(b"GET / HTTP/1.1\n"), Err(BadLine));
        assert_eq!(scan_bytewise(b"\nGET / HTTP/1.1\r\n\r\n"), Err(BadLine));
        assert_eq!(scan_bytewise(b"GET / HTTP/1.1\r\nA: b\n\n"), Err(BadLine));
    }
}
