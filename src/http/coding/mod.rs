//! Content codings of answers: which one a client takes ([`accept`]), which answers may get one and what becomes of their
//! head ([`answer`]), and the coders themselves ([`encoder`]).

pub mod accept;
pub mod answer;
pub mod encoder;
