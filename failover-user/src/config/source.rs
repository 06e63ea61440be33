//! The text of the file, and from places in it to lines of it.

use std::{ops::Range, path::Path};

use super::{
    error::{Error, Problem},
    raw,
};

/// Longest piece of the file a message quotes, characters.
const QUOTE_LEN: usize = 40;

/// A file and its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// The file as it is written.
    pub(super) fn raw(self) -> Result<raw::Config, Error> {
        toml::from_str(self.text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let problem = self.problem(error.message(), span.clone());
            self.error(span, problem)
        })
    }

    /// The refusal of what is written at `span`, a range of bytes.
    pub(super) fn error(self, span: Range<usize>, problem: Problem) -> Error {
        Error::at(self.file, self.line(span), problem)
    }

    /// The line on which `span` starts; the first is 1.
    pub(super) fn line(self, span: Range<usize>) -> usize {
        line_at(self.text.as_bytes(), span.start)
    }

    /// What a message of serde or of the TOML parser means to who wrote the file.
    fn problem(self, message: &str, span: Range<usize>) -> Problem {
        let quote = self.quote(span);
        if message == "duplicate key" {
            return Problem::KeyTwice { key: quote };
        }
        // The file can hold ", expected " as well; what is expected comes last.
        let Some((found, expected)) = message.rsplit_once(", expected ") else {
            return Problem::Syntax {
                message: message.to_owned(),
            };
        };
        if let Some(key) = found.strip_prefix("unknown field ") {
            let (key, expected) = (key.to_owned(), expected.to_owned());
            return Problem::UnknownKey { key, expected };
        }
        if !found.starts_with("invalid type: ") {
            return Problem::Syntax {
                message: message.to_owned(),
            };
        }
        match expected {
            "a sequence" if quote.starts_with('[') => Problem::OneTable { header: quote },
            "a table" if quote.starts_with("[[") => Problem::ManyTables { header: quote },
            "a sequence" => Problem::WrongType {
                found: quote,
                expected: "an array".to_owned(),
            },
            "a boolean" => Problem::WrongType {
                found: quote,
                expected: "true or false".to_owned(),
            },
            "i64" => Problem::WrongType {
                found: quote,
                expected: "a whole number".to_owned(),
            },
            other => Problem::WrongType {
                found: quote,
                expected: other.to_owned(),
            },
        }
    }

    /// What is written at `span`, shortened.
    fn quote(self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or_default();
        match text.char_indices().nth(QUOTE_LEN) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.to_owned(),
        }
    }
}

/// The line on which the byte at `offset` is; the first is 1.
pub(super) fn line_at(bytes: &[u8], offset: usize) -> usize {
    bytes[..offset.min(bytes.len())]
        .split(|&byte| byte == b'\n')
        .count()
}
