//! Reads the few members of a JSON text that are wanted and skips the rest, without building a tree.
//!
//! A [`Reader`] stands before a value. Whoever wants something of it reads it as what it expects ([`Reader::object`],
//! [`Reader::array`], [`Reader::text`], [`Reader::flag`]); what is something else, or is not wanted, is skipped. Strings
//! are borrowed from the body unless they hold an escape. Nothing here calls itself, so depth costs no stack.
//!
//! What is met is checked against the grammar of RFC 8259, with two limits. A string that is skipped is searched for its
//! end and for nothing else, so that media of some megabytes cost what reading memory costs. A member that is wanted and
//! stands twice in one object is refused: receivers take the last, others the first, and what one of them would take for
//! another account's message is better passed on as nobody's.

use std::borrow::Cow;

use super::Undecodable;

#[cfg(test)]
mod tests;
mod text;

/// Deepest nesting of a value that is skipped. What gateways send stays far below, and the usual parsers stop here too.
const DEPTH_MAX: u32 = 128;

/// A place in a JSON text.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A member of an object, before its value.
#[derive(Debug, Clone, Copy)]
pub struct Key<'k> {
    /// Without quotation marks and escapes.
    pub name: &'k [u8],
    /// Where it begins, with its quotation mark.
    pub at: usize,
}

/// What a wanted member was, and that it was there.
#[derive(Debug, Clone)]
pub struct Slot<T> {
    seen: bool,
    pub value: Option<T>,
}

pub type Text<'a> = Slot<Cow<'a, str>>;

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { seen: false, value: None }
    }
}

impl<T> Slot<T> {
    /// Fills it.
    ///
    /// # Errors
    /// It was met before.
    pub fn put(&mut self, value: T) -> Result<(), Undecodable> {
        if std::mem::replace(&mut self.seen, true) {
            return Err(Undecodable::Repeated { at: 0 });
        }
        self.value = Some(value);
        Ok(())
    }

    pub fn take(&mut self) -> Option<T> {
        self.value.take()
    }
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Calls `member` for each member of the object that comes next; a value that it does not read is skipped. False, and
    /// the value is skipped, when it is no object.
    ///
    /// # Errors
    /// Broken JSON, or what `member` refuses.
    pub fn object(
        &mut self,
        mut member: impl FnMut(Key<'_>, &mut Self) -> Result<(), Undecodable>,
    ) -> Result<bool, Undecodable> {
        if self.peek() != Some(b'{') {
            return self.skip().map(|()| false);
        }
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(true);
        }
        loop {
            self.blank();
            let at = self.at;
            let (name, escaped) = self.quoted()?;
            self.expect(b':')?;
            self.blank();
            let before = self.at;
            if escaped {
                let plain = text::unescaped(name).ok_or_else(|| self.broken())?;
                member(Key { name: plain.as_bytes(), at }, self)?;
            } else {
                member(Key { name, at }, self)?;
            }
            if self.at == before {
                self.skip()?;
            }
            if !self.more(b'}')? {
                return Ok(true);
            }
        }
    }

    /// Calls `element` for each element of the array that comes next; one that it does not read is skipped. False, and
    /// the value is skipped, when it is no array.
    ///
    /// # Errors
    /// Broken JSON, or what `element` refuses.
    pub fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Undecodable>,
    ) -> Result<bool, Undecodable> {
        if self.peek() != Some(b'[') {
            return self.skip().map(|()| false);
        }
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(true);
        }
        loop {
            self.blank();
            let before = self.at;
            element(self)?;
            if self.at == before {
                self.skip()?;
            }
            if !self.more(b']')? {
                return Ok(true);
            }
        }
    }

    /// Reads a string, or a number as it is written. Anything else is skipped and leaves the slot empty.
    ///
    /// # Errors
    /// Broken JSON, a string that is no Unicode text, a slot that was read before.
    pub fn text(&mut self, slot: &mut Text<'a>) -> Result<(), Undecodable> {
        self.once(&mut slot.seen)?;
        slot.value = self.scalar()?;
        Ok(())
    }

    /// Reads a string or a number, or the one that is this member of an object.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn text_or_member(&mut self, slot: &mut Text<'a>, name: &[u8]) -> Result<(), Undecodable> {
        if self.peek() != Some(b'{') {
            return self.text(slot);
        }
        self.once(&mut slot.seen)?;
        let mut inside = Text::default();
        self.object(|key, value| if key.name == name { value.text(&mut inside) } else { Ok(()) })?;
        slot.value = inside.value;
        Ok(())
    }

    /// Reads `true` or `false`. Anything else is skipped and leaves the slot empty.
    ///
    /// # Errors
    /// Broken JSON, a slot that was read before.
    pub fn flag(&mut self, slot: &mut Slot<bool>) -> Result<(), Undecodable> {
        self.once(&mut slot.seen)?;
        slot.value = match self.peek() {
            Some(b't') => Some(true),
            Some(b'f') => Some(false),
            _ => None,
        };
        self.skip()
    }

    /// Notes that a member was met.
    ///
    /// # Errors
    /// It was met before.
    pub fn once(&self, seen: &mut bool) -> Result<(), Undecodable> {
        if std::mem::replace(seen, true) { Err(Undecodable::Repeated { at: self.at }) } else { Ok(()) }
    }

    /// Reads a string, or a number as it is written; `None`, and skipped, when it is anything else.
    ///
    /// # Errors
    /// Broken JSON, a string that is no Unicode text.
    pub fn scalar(&mut self) -> Result<Option<Cow<'a, str>>, Undecodable> {
        match self.peek() {
            Some(b'"') => {
                let (inside, escaped) = self.quoted()?;
                let text = if escaped {
                    text::unescaped(inside).map(Cow::Owned)
                } else {
                    text::plain(inside).map(Cow::Borrowed)
                };
                text.map(Some).ok_or_else(|| self.broken())
            }
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                self.number()?;
                Ok(std::str::from_utf8(&self.bytes[start..self.at]).ok().map(Cow::Borrowed))
            }
            _ => self.skip().map(|()| None),
        }
    }

    /// The first byte of the value that comes next.
    pub fn peek(&mut self) -> Option<u8> {
        self.blank();
        self.bytes.get(self.at).copied()
    }

    /// # Errors
    /// More than white space follows.
    pub fn end(&mut self) -> Result<(), Undecodable> {
        if self.peek().is_some() { Err(self.broken()) } else { Ok(()) }
    }

    /// Passes over one value.
    ///
    /// # Errors
    /// Broken JSON, or nested deeper than [`DEPTH_MAX`].
    pub fn skip(&mut self) -> Result<(), Undecodable> {
        // The containers that are open, one bit each, set for an object; the innermost is the lowest.
        let (mut open, mut depth) = (0_u128, 0);
        loop {
            // Before a value.
            match self.peek() {
                Some(b'"') => drop(self.quoted()?),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    let closing = bracket + 2;
                    if self.peek() == Some(closing) {
                        self.at += 1;
                    } else {
                        if depth == DEPTH_MAX {
                            return Err(Undecodable::TooDeep { at: self.at });
                        }
                        depth += 1;
                        open = open << 1 | u128::from(bracket == b'{');
                        if bracket == b'{' {
                            self.name()?;
                        }
                        continue;
                    }
                }
                _ => return Err(self.broken()),
            }
            // Behind a value.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let object = open & 1 == 1;
                if self.more(if object { b'}' } else { b']' })? {
                    if object {
                        self.name()?;
                    }
                    break;
                }
                open >>= 1;
                depth -= 1;
            }
        }
    }

    /// Behind a member or an element: whether another follows, or the container is closed.
    fn more(&mut self, closing: u8) -> Result<bool, Undecodable> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == closing => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.broken()),
        }
    }

    /// Passes over a member's name and its colon.
    fn name(&mut self) -> Result<(), Undecodable> {
        self.blank();
        self.quoted()?;
        self.expect(b':')
    }

    /// Passes over a string; gives what is between its quotation marks, and whether that holds an escape.
    fn quoted(&mut self) -> Result<(&'a [u8], bool), Undecodable> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(self.broken());
        }
        let start = self.at + 1;
        let (mut at, mut escaped) = (start, false);
        loop {
            let Some(found) = text::end_or_escape(self.bytes, at) else {
                self.at = self.bytes.len();
                return Err(self.broken());
            };
            if self.bytes[found] == b'"' {
                self.at = found + 1;
                return Ok((&self.bytes[start..found], escaped));
            }
            escaped = true;
            at = found + 2;
        }
    }

    fn number(&mut self) -> Result<(), Undecodable> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one.
    fn digits(&mut self) -> Result<(), Undecodable> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.broken()) } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Undecodable> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.broken());
        }
        self.at += word.len();
        Ok(())
    }

    fn expect(&mut self, byte: u8) -> Result<(), Undecodable> {
        if self.peek() != Some(byte) {
            return Err(self.broken());
        }
        self.at += 1;
        Ok(())
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn broken(&self) -> Undecodable {
        Undecodable::Broken { at: self.at }
    }
}
