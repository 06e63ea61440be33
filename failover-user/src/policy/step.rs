//! What a policy answers.

/// What to do, and what has happened. See the [module](super) for the
/// sequence in which to apply it.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The order to write to the service's map entry; none: leave it.
    pub order: Option<Vec<usize>>,
    /// The service moved.
    pub moved: Option<Move>,
    /// The service lost its last eligible backend, or has one again.
    pub outage: Option<Outage>,
}

/// A change of the serving backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Position of the backend that served.
    pub from: usize,
    /// Position of the backend that serves now.
    pub to: usize,
    /// Why.
    pub cause: Cause,
}

/// Why a service moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The serving backend was not eligible any more.
    Takeover,
    /// A better backend was eligible for the whole hold-down.
    Failback,
    /// The operator wanted it.
    Switch,
}

/// A service without any eligible backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// The last eligible backend died. The one held last keeps the service.
    Begins,
    /// A backend is eligible again.
    Ends,
}

/// Why [`Policy::switch`](super::Policy::switch) does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The position is not one of the service's.
    #[error("the service has no such backend")]
    NoSuchBackend,
    /// The backend has the service.
    #[error("the backend already serves")]
    AlreadyServing,
    /// The backend is held.
    #[error("the backend is not eligible")]
    NotEligible,
    /// None was named, and none but the serving one could serve.
    #[error("no other backend is eligible")]
    NoOtherEligible,
}
