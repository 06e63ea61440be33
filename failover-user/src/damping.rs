//! Damping of a backend that flaps, as routes are damped in BGP (RFC 2439). No
//! clocks, no I/O; time is a parameter.
//!
//! Each death is a penalty, which decays: it halves every half-life. A backend
//! whose penalty is above `suppress` is damped until it has decayed below `reuse`.

use std::time::Duration;

/// What one death adds.
pub const PENALTY: f64 = 1000.0;

/// How a backend is damped, from the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// In this time the penalty halves; above zero.
    pub half_life: Duration,
    /// From this penalty on the backend is damped; above `reuse`.
    pub suppress: f64,
    /// Below this one it is not any more; above zero.
    pub reuse: f64,
    /// How long it is damped at most, however often it died; at least a half-life.
    pub max_suppress: Duration,
}

impl Spec {
    /// The penalty that takes `max_suppress` to decay to `reuse`: more does not
    /// count (RFC 2439, section 4.2).
    fn ceiling(&self) -> f64 {
        let lives = self.max_suppress.as_secs_f64() / self.half_life.as_secs_f64();
        // Below `suppress` it would damp nobody.
        (self.reuse * lives.exp2()).max(self.suppress)
    }
}

/// What is known of one backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    spec: Spec,
    penalty: f64,
    /// When the penalty was that.
    at: Duration,
    damped: bool,
}

impl Damping {
    /// A backend with a `penalty`, which an earlier agent may have counted.
    #[must_use]
    pub fn new(spec: Spec, penalty: f64, damped: bool, now: Duration) -> Self {
        let penalty = penalty.clamp(0.0, spec.ceiling());
        let mut damping = Self {
            spec,
            penalty,
            at: now,
            damped,
        };
        damping.damped &= penalty >= spec.reuse;
        damping
    }

    /// The backend died.
    pub fn died(&mut self, now: Duration) {
        self.penalty = (self.penalty(now) + PENALTY).min(self.spec.ceiling());
        self.at = now;
        self.damped |= self.penalty >= self.spec.suppress;
    }

    /// Does what time alone brings about; returns whether it is damped.
    pub fn advance(&mut self, now: Duration) -> bool {
        self.damped &= self.penalty(now) >= self.spec.reuse;
        self.damped
    }

    /// The penalty by now.
    #[must_use]
    pub fn penalty(&self, now: Duration) -> f64 {
        let lives = now.saturating_sub(self.at).as_secs_f64() / self.spec.half_life.as_secs_f64();
        self.penalty * (-lives).exp2()
    }

    /// The penalty as it was last counted, and when.
    #[must_use]
    pub const fn counted(&self) -> (f64, Duration) {
        (self.penalty, self.at)
    }

    /// Whether it is damped, as of the last call.
    #[must_use]
    pub const fn is_damped(&self) -> bool {
        self.damped
    }

    /// When it is not damped any more, if it is.
    #[must_use]
    pub fn until(&self) -> Option<Duration> {
        if !self.damped {
            return None;
        }
        let lives = (self.penalty / self.spec.reuse).log2().max(0.0);
        // A hair later, or rounding leaves the penalty at `reuse` for ever.
        let wait = self.spec.half_life.mul_f64(lives) + Duration::from_millis(1);
        Some(self.at + wait)
    }
}

#[cfg(test)]
mod tests;
