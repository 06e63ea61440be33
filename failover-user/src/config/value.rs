//! One value at a time: from what is written to what it means.

use std::{net::IpAddr, ops::Range, path::PathBuf, time::Duration};

use failover_common::NAME_LEN;
use toml::Spanned;

use super::{
    error::{Error, Problem, list},
    raw::DurationText,
    source::Source,
};

/// Longest name of an interface, bytes: the kernel's `IFNAMSIZ`, less its zero.
pub(super) const INTERFACE_LEN: usize = 15;

/// Longest path of a unix socket, bytes: `sun_path` of unix(7), less its zero.
pub(super) const SOCKET_LEN: usize = 107;

/// Longest duration: a day. Nothing here has a use for more, and the clock can
/// be added to it without overflow.
const MAX_DURATION: Duration = Duration::from_hours(24);

/// A key that must be there; `table` is where it is missing otherwise.
pub(super) fn required<T>(
    value: Option<Spanned<T>>,
    key: &'static str,
    example: &'static str,
    table: &Range<usize>,
    source: Source<'_>,
) -> Result<Spanned<T>, Error> {
    value.ok_or_else(|| source.error(table.clone(), Problem::MissingKey { key, example }))
}

/// One of a few words.
pub(super) fn keyword<T: Copy>(
    word: &Spanned<String>,
    key: &'static str,
    choices: &[(&'static str, T)],
    source: Source<'_>,
) -> Result<T, Error> {
    let value = word.get_ref();
    if let Some((_, choice)) = choices.iter().find(|(name, _)| name == value) {
        return Ok(*choice);
    }
    let choices = list(&choices.iter().map(|(name, _)| name).collect::<Vec<_>>());
    let problem = Problem::UnknownValue {
        key,
        value: value.clone(),
        choices,
    };
    Err(source.error(word.span(), problem))
}

/// One of a few words, or `default` where it is not written.
pub(super) fn keyword_or<T: Copy>(
    default: T,
    raw: Option<Spanned<String>>,
    key: &'static str,
    choices: &[(&'static str, T)],
    source: Source<'_>,
) -> Result<T, Error> {
    raw.map_or(Ok(default), |raw| keyword(&raw, key, choices, source))
}

/// A key that has no meaning for the kind must not be there.
pub(super) fn refuse<T>(
    key: &'static str,
    value: Option<&Spanned<T>>,
    kind: &'static str,
    source: Source<'_>,
) -> Result<(), Error> {
    value.map_or(Ok(()), |value| {
        Err(source.error(value.span(), Problem::NotForKind { key, kind }))
    })
}

/// A number from `min` to `max`.
pub(super) fn number<T>(
    number: &Spanned<i64>,
    key: &'static str,
    min: i64,
    max: T,
    source: Source<'_>,
) -> Result<T, Error>
where
    T: TryFrom<i64> + Into<i64>,
{
    let value = *number.get_ref();
    let max = max.into();
    match T::try_from(value) {
        Ok(fits) if (min..=max).contains(&value) => Ok(fits),
        _ => {
            let problem = Problem::Range {
                key,
                value,
                min,
                max,
            };
            Err(source.error(number.span(), problem))
        }
    }
}

/// A duration with its unit, a day at most.
pub(super) fn duration(
    raw: &Spanned<DurationText>,
    key: &'static str,
    source: Source<'_>,
) -> Result<Duration, Error> {
    duration_to(MAX_DURATION, raw, key, source)
}

/// A duration with its unit, `max` at most.
pub(super) fn duration_to(
    max: Duration,
    raw: &Spanned<DurationText>,
    key: &'static str,
    source: Source<'_>,
) -> Result<Duration, Error> {
    let text = raw.get_ref().0.clone();
    let refuse = |problem| Err(source.error(raw.span(), problem));
    if !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return refuse(Problem::MissingUnit { key, text });
    }
    // humantime knows more units, one letter apart: `5M` are five months.
    let mut units = text
        .split(|c: char| !c.is_alphabetic())
        .filter(|unit| !unit.is_empty());
    if let Some(unit) = units.find(|unit| !["us", "ms", "s", "m"].contains(unit)) {
        let unit = unit.to_owned();
        return refuse(Problem::UnknownUnit { key, text, unit });
    }
    match humantime::parse_duration(&text) {
        Ok(duration) if duration <= max => Ok(duration),
        Ok(_) | Err(humantime::DurationError::NumberOverflow) => {
            refuse(Problem::TooLong { key, text, max })
        }
        Err(_) => refuse(Problem::NotADuration { key, text }),
    }
}

/// A name of a service or a backend.
pub(super) fn name(
    name: &Spanned<String>,
    example: &'static str,
    source: Source<'_>,
) -> Result<(), Error> {
    let text = name.get_ref();
    let odd = |c: char| c.is_whitespace() || c.is_control();
    let problem = if text.is_empty() {
        Problem::Empty {
            key: "name",
            example,
        }
    } else if text.len() > NAME_LEN {
        Problem::NameTooLong { len: text.len() }
    } else if text.contains(odd) {
        Problem::NameCharacter {
            name: text.clone(),
            instead: text.replace(odd, "-"),
        }
    } else {
        return Ok(());
    };
    Err(source.error(name.span(), problem))
}

/// The address of one host, as it can be in a packet on a wire.
pub(super) fn address(
    raw: &Spanned<String>,
    of: &'static str,
    source: Source<'_>,
) -> Result<IpAddr, Error> {
    let text = raw.get_ref().clone();
    let problem = match text.parse::<IpAddr>() {
        Err(_) => Problem::NotAnAddress {
            key: "address",
            text,
        },
        Ok(address) => match (unfit(address), address) {
            (Some(kind), _) => Problem::AddressKind { address, kind, of },
            (None, IpAddr::V6(v6)) if let Some(v4) = v6.to_ipv4_mapped() => {
                Problem::Mapped { text, v4 }
            }
            (None, _) => return Ok(address),
        },
    };
    Err(source.error(raw.span(), problem))
}

/// Why an address cannot be that of a service or a backend.
fn unfit(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        // Without an interface it says nothing (RFC 4007, section 6).
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// A name the kernel would accept (`dev_valid_name`).
pub(super) fn interface(name: &Spanned<String>, source: Source<'_>) -> Result<(), Error> {
    let text = name.get_ref();
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
    let problem = if text.is_empty() {
        Problem::InterfaceEmpty
    } else if text.len() > INTERFACE_LEN {
        Problem::InterfaceTooLong {
            name: text.clone(),
            len: text.len(),
        }
    } else if text.contains(odd) || text == "." || text == ".." {
        Problem::InterfaceName { name: text.clone() }
    } else {
        return Ok(());
    };
    Err(source.error(name.span(), problem))
}

/// An absolute path: the agent runs in whatever directory it was started.
pub(super) fn path(
    path: &Spanned<String>,
    key: &'static str,
    example: &'static str,
    source: Source<'_>,
) -> Result<PathBuf, Error> {
    let text = path.get_ref().clone();
    if text.starts_with('/') && !text.contains('\0') {
        Ok(text.into())
    } else {
        Err(source.error(
            path.span(),
            Problem::NotAbsolute {
                key,
                path: text,
                example,
            },
        ))
    }
}
