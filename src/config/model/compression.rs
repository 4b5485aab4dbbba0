//! How a route's answers are compressed for clients that take it.

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    Zstd,
    Br,
    Gzip,
}

/// Work spent on smaller answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionLevel {
    Fastest,
    Default,
    Best,
}

/// Which answers are compressed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// The preferred one first; not empty.
    pub algorithms: Vec<Coding>,
    /// Answers of a known length below it stay as they are. Default 1 KiB.
    pub min_bytes: u64,
    /// In lower case; `text/*` stands for every type that begins with `text/`.
    pub content_types: Vec<String>,
    pub level: CompressionLevel,
}

impl Coding {
    /// Each with its name in HTTP, which is also the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 3] = [(Self::Zstd, "zstd"), (Self::Br, "br"), (Self::Gzip, "gzip")];

    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl CompressionLevel {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Fastest, "fastest"), (Self::Default, "default"), (Self::Best, "best")];
}
