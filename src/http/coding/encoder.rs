//! The coders: bytes in, fewer bytes out, as a stream.
//!
//! Each keeps a window of what it has seen and tables about it, and that is what an answer under way costs. Both are kept
//! small, and smaller for answers that are known to be short.

use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::write::GzEncoder;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::config::model::{Coding, CompressionLevel};

/// Windows of `br` and `zstd`, as powers of two: the smallest that these formats have, and the largest that is used here.
const WINDOW_LOG_MIN: u32 = 10;
const WINDOW_LOG_MAX: u32 = 17;

/// What `br` hands over at a time.
const BR_PIECE_BYTES: usize = 4096;

/// An answer being encoded.
pub enum Encoder {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Br(Box<CompressorWriter<Vec<u8>>>),
    Zstd(Box<ZstdEncoder<'static, Vec<u8>>>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

/// How much a coder tries, in its own terms, and the memory that it takes at most, as measured with bytes that do not become
/// smaller. `br` and `zstd` go no further: a step beyond takes several times the memory, or more than a millisecond for 16 KiB, in
/// which the worker does nothing else.
fn effort(coding: Coding, level: CompressionLevel) -> (u32, usize) {
    let [fastest, default, best] = match coding {
        Coding::Gzip => [(1, 400), (5, 400), (9, 400)],
        Coding::Br => [(1, 250), (4, 2500), (5, 3000)],
        Coding::Zstd => [(1, 1500), (3, 1800), (8, 1800)],
    };
    let (effort, kibibytes) = match level {
        CompressionLevel::Fastest => fastest,
        CompressionLevel::Default => default,
        CompressionLevel::Best => best,
    };
    (effort, kibibytes * 1024)
}

impl Encoder {
    /// Bytes of memory that one takes at most.
    #[must_use]
    pub fn memory(coding: Coding, level: CompressionLevel) -> usize {
        effort(coding, level).1
    }

    /// For an answer of this length, if that is known.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(coding: Coding, level: CompressionLevel, length: Option<u64>) -> io::Result<Self> {
        let ((effort, _), sink) = (effort(coding, level), Vec::new());
        let window_log = length.map_or(WINDOW_LOG_MAX, |length| {
            let log = length.max(1).next_power_of_two().trailing_zeros();
            // `br` takes 16 bytes of its window for itself.
            (log + 1).clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX)
        });
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Box::new(GzEncoder::new(sink, flate2::Compression::new(effort)))),
            Coding::Br => {
                // From 5 on its tables for smaller windows are ten times as large.
                let window_log = if effort < 5 { window_log } else { WINDOW_LOG_MAX };
                let params = BrotliEncoderParams {
                    quality: effort.cast_signed(),
                    lgwin: window_log.cast_signed(),
                    ..BrotliEncoderParams::default()
                };
                Self::Br(Box::new(CompressorWriter::with_params(sink, BR_PIECE_BYTES, &params)))
            }
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(sink, effort.cast_signed())?;
                encoder.set_parameter(CParameter::WindowLog(window_log))?;
                // By itself it would make the tables as large as for a window of megabytes.
                encoder.set_parameter(CParameter::HashLog(window_log))?;
                encoder.set_parameter(CParameter::ChainLog(window_log))?;
                encoder.set_pledged_src_size(length)?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    /// Takes in `data` and appends to `out` what comes of it so far, which may be nothing.
    ///
    /// # Errors
    /// When the coder fails, after which the answer cannot be completed.
    pub fn write(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(data)?,
            Self::Br(encoder) => encoder.write_all(data)?,
            Self::Zstd(encoder) => encoder.write_all(data)?,
        }
        out.append(self.sink());
        Ok(())
    }

    /// Appends to `out` whatever a decoder needs for all that was taken in.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush()?,
            Self::Br(encoder) => encoder.flush()?,
            Self::Zstd(encoder) => encoder.flush()?,
        }
        out.append(self.sink());
        Ok(())
    }

    /// Appends the end to `out`, by which a decoder knows that nothing is missing.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        let mut rest = match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Br(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        };
        out.append(&mut rest);
        Ok(())
    }

    fn sink(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Br(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn decode(coding: Coding, encoded: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(encoded).read_to_end(&mut out)?,
            Coding::Br => brotli::Decompressor::new(encoded, 4096).read_to_end(&mut out)?,
            Coding::Zstd => zstd::stream::read::Decoder::new(encoded)?.read_to_end(&mut out)?,
        };
        Ok(out)
    }

    /// As much of the start as can be told from what there is.
    fn decode_start(coding: Coding, encoded: &[u8]) -> Vec<u8> {
        let mut reader: Box<dyn Read> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(encoded)),
            Coding::Br => Box::new(brotli::Decompressor::new(encoded, 4096)),
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(encoded).unwrap()),
        };
        let (mut out, mut piece) = (Vec::new(), [0; 100]);
        while let Ok(count @ 1..) = reader.read(&mut piece) {
            out.extend_from_slice(&piece[..count]);
        }
        out
    }

    fn text(bytes: usize) -> Vec<u8> {
        b"{\"from\":\"971501234567\",\"type\":\"text\"}\n".iter().copied().cycle().take(bytes).collect()
    }

    #[test]
    fn a_flush_gives_all_that_was_taken_in_and_only_the_end_completes() {
        for (coding, name) in Coding::ALL {
            for (_, level) in
                [(0, CompressionLevel::Fastest), (1, CompressionLevel::Default), (2, CompressionLevel::Best)]
            {
                let (mut encoder, mut out) = (Encoder::new(coding, level, None).unwrap(), Vec::new());
                let (first, second) = (text(70_000), text(3));
                encoder.write(&first, &mut out).unwrap();
                encoder.flush(&mut out).unwrap();
                assert_eq!(decode_start(coding, &out), first, "{name}");
                encoder.write(&second, &mut out).unwrap();
                encoder.flush(&mut out).unwrap();
                let whole = [first, second].concat();
                assert_eq!(decode_start(coding, &out), whole, "{name}");
                assert!(decode(coding, &out).is_err(), "{name} looks complete before its end");
                encoder.finish(&mut out).unwrap();
                assert_eq!(decode(coding, &out).unwrap(), whole, "{name}");
                assert!(out.len() < whole.len() / 20, "{name}: {} bytes", out.len());
            }
        }
    }

    #[test]
    fn an_answer_that_breaks_its_promised_length_cannot_be_completed_by_zstd() {
        let mut encoder = Encoder::new(Coding::Zstd, CompressionLevel::Default, Some(10)).unwrap();
        let mut out = Vec::new();
        encoder.write(b"123456789", &mut out).unwrap();
        assert!(encoder.finish(&mut out).is_err());
    }

    #[test]
    fn a_piece_takes_little_memory_until_it_is_handed_over() {
        for (coding, name) in Coding::ALL {
            let (mut encoder, mut out) = (Encoder::new(coding, CompressionLevel::Best, None).unwrap(), Vec::new());
            // Random bytes do not become smaller.
            let mut state = 1_u64;
            for _ in 0..200 {
                let piece: Vec<u8> = (0..16_384)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (state >> 56) as u8
                    })
                    .collect();
                encoder.write(&piece, &mut out).unwrap();
                assert!(out.len() <= 400_000, "{name}: {}", out.len());
                out.clear();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_encoded_in_any_pieces_is_decoded_as_it_was(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..3000), any::<bool>()), 0..5),
            coding in prop::sample::select(Coding::ALL.map(|(coding, _)| coding).to_vec()),
            known in any::<bool>(),
        ) {
            let whole: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
            let length = known.then_some(whole.len() as u64);
            let (mut encoder, mut out) = (Encoder::new(coding, CompressionLevel::Default, length).unwrap(), Vec::new());
            for (piece, flush) in &pieces {
                encoder.write(piece, &mut out).unwrap();
                if *flush {
                    encoder.flush(&mut out).unwrap();
                }
            }
            encoder.finish(&mut out).unwrap();
            prop_assert_eq!(decode(coding, &out).unwrap(), whole);
        }
    }
}
