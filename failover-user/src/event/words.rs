//! Events in words.

use std::fmt;

use super::{Timeline, What};

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(answered) = self.answered_ns {
            let before = self.before_latch(answered);
            writeln!(f, "    -{before:>6} us  newest answered heartbeat sent")?;
        }
        if let Some(unanswered) = self.unanswered_ns {
            let before = self.before_latch(unanswered);
            writeln!(f, "    -{before:>6} us  first unanswered heartbeat sent")?;
        }
        write!(f, "          0 us  latched by: {}", self.signal)?;
        if let Some(passed) = self.passed_ns {
            let after = passed.saturating_sub(self.latched_ns) / 1000;
            write!(f, "\n    +{after:>6} us  first packet to the standby")?;
        }
        Ok(())
    }
}

impl fmt::Display for What {
    #[expect(clippy::too_many_lines, reason = "a line for each event")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { adopted: false } => write!(f, "agent started"),
            Self::Started { adopted: true } => {
                write!(f, "agent started and went on from what it found")
            }
            Self::Holds { backend, holds, .. } if holds.is_empty() => {
                write!(f, "backend {backend} is eligible")
            }
            Self::Holds {
                backend,
                holds,
                reason,
            } => {
                write!(f, "backend {backend} is held: {}", holds.join(", "))?;
                reason
                    .as_ref()
                    .map_or(Ok(()), |reason| write!(f, " ({reason})"))
            }
            Self::Expired { backend, timeline } => {
                write!(f, "backend {backend} expired, seen by: {}", timeline.signal)
            }
            Self::Passed {
                backend,
                after_latch_us,
            } => write!(
                f,
                "backend {backend}: the first packet went past it {after_latch_us} us after the latch"
            ),
            Self::Doubt {
                interface,
                begins: true,
            } => write!(
                f,
                "interface {interface}: NO BACKEND BEHIND IT ANSWERS, so our own side is in doubt; who serves goes on serving"
            ),
            Self::Doubt {
                interface,
                begins: false,
            } => write!(f, "interface {interface}: heartbeats are answered again"),
            Self::Trouble { trouble } => write!(f, "{trouble}"),
            Self::Takeover {
                service, from, to, ..
            } => {
                write!(f, "service {service}: takeover from {from} to {to}")
            }
            Self::Failback { service, from, to } => {
                write!(f, "service {service}: failback from {from} to {to}")
            }
            Self::Switch { service, from, to } => {
                write!(f, "service {service}: switched from {from} to {to}")
            }
            Self::Promotion {
                service,
                from,
                to,
                reason,
            } => write!(
                f,
                "service {service}: {to} is to take over from {from} ({reason})"
            ),
            Self::Step {
                service,
                backend,
                step,
            } => write!(f, "service {service}: on the way to {backend}: {step}"),
            Self::Hook {
                service,
                backend,
                hook,
                attempt,
                outcome,
                text,
            } => {
                write!(
                    f,
                    "service {service}: hook {hook} for {backend}, attempt {attempt}: {outcome}"
                )?;
                if text.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {}", text.escape_debug())
                }
            }
            Self::NotFenced { service, backend } => write!(
                f,
                "service {service}: {backend} COULD NOT BE FENCED, and goes without (required = false)"
            ),
            Self::GivesUp {
                service,
                backend,
                step,
            } => write!(f, "service {service}: {backend} fails at: {step}"),
            Self::Keeps { service, backend } => {
                write!(f, "service {service}: {backend} keeps it")
            }
            Self::Blocked { service, check, .. } => {
                write!(f, "service {service}: WAITS FOR A PERSON: {check}")
            }
            Self::Frozen { service, reason } => {
                write!(f, "service {service}: NOTHING IS PROMOTED: {reason}")
            }
            Self::Go {
                service,
                promoted: None,
            } => write!(f, "service {service}: go, said the operator"),
            Self::Go {
                service,
                promoted: Some(backend),
            } => write!(
                f,
                "service {service}: {backend} is promoted, said the operator"
            ),
            Self::Promoted {
                service,
                from,
                to,
                reason,
            } => write!(
                f,
                "service {service}: {to} holds it, after {from} ({reason})"
            ),
            Self::Maintenance {
                backend,
                state,
                reason,
                for_s,
            } => {
                write!(f, "backend {backend} is {state}")?;
                if let Some(seconds) = for_s {
                    write!(f, " for {seconds} s")?;
                }
                reason
                    .as_ref()
                    .map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::Outage { service, keeps } => write!(
                f,
                "service {service}: NO ELIGIBLE BACKEND, {keeps} keeps it as the one that was held last"
            ),
            Self::OutageEnds { service } => {
                write!(f, "service {service}: a backend is eligible again")
            }
            Self::Link { interface, state } => write!(f, "interface {interface}: {state}"),
        }
    }
}
