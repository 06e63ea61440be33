//! `[agent.damping]`.

use std::time::Duration;

use toml::Spanned;

use super::{
    error::{Error, Problem},
    raw,
    source::Source,
    value,
};
use crate::damping::{PENALTY, Spec};

const HALF_LIFE: Duration = Duration::from_mins(15);
const SUPPRESS: u32 = 2000;
const REUSE: u32 = 750;
/// Half-lives.
const MAX_SUPPRESS: u32 = 4;
const MIN_HALF_LIFE: Duration = Duration::from_secs(1);
/// A hundred deaths within no time.
const MAX_PENALTY: u32 = 100_000;

pub(super) fn spec(
    raw: Spanned<raw::Table<raw::Damping>>,
    source: Source<'_>,
) -> Result<Spec, Error> {
    let raw::Damping {
        half_life,
        suppress,
        reuse,
        max_suppress,
    } = raw.into_inner().0;
    let at_least = |raw: Option<Spanned<_>>, key, usual, min| {
        let Some(raw) = raw else { return Ok(usual) };
        let value = value::duration(&raw, key, source)?;
        if value < min {
            let text = raw.get_ref().0.clone();
            return Err(source.error(raw.span(), Problem::TooShort { key, text, min }));
        }
        Ok(value)
    };
    let half_life = at_least(half_life, "half_life", HALF_LIFE, MIN_HALF_LIFE)?;
    let max = half_life * MAX_SUPPRESS;
    let max_suppress = at_least(max_suppress, "max_suppress", max, half_life)?;
    // One death is no flapping.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number of a few digits"
    )]
    let one = PENALTY as i64 + 1;
    let suppress = suppress.map_or(Ok(SUPPRESS), |raw| {
        value::number(&raw, "suppress", one, MAX_PENALTY, source)
    })?;
    let reuse = match reuse {
        None => REUSE,
        Some(raw) => {
            let value = value::number(&raw, "reuse", 1, MAX_PENALTY, source)?;
            if value >= suppress {
                let key = "reuse";
                let problem = Problem::Damping {
                    key,
                    value,
                    suppress,
                };
                return Err(source.error(raw.span(), problem));
            }
            value
        }
    };
    Ok(Spec {
        half_life,
        suppress: suppress.into(),
        reuse: reuse.into(),
        max_suppress,
    })
}
