//! Standbys that must be started or promoted before they serve.

use std::{ops::Range, time::Duration};

use failover_common::DuringSwitch;
use toml::Spanned;

use super::{
    Hook, Protocol,
    error::{Error, Problem, StandbyProblem, list},
    raw,
    source::Source,
    value,
};
use crate::promotion::Kind;

const PATIENCE: Duration = Duration::from_millis(100);
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Where something is written, bytes.
type Place = Range<usize>;

/// Keys, and where each is.
type Places = Vec<(&'static str, Place)>;

/// How a service with warm or cold standbys changes its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// How long the serving backend must be dead before another one is promoted.
    pub patience: Duration,
    /// How long a backend may take to answer, and again to pass its checks.
    pub ready_timeout: Duration,
    /// What becomes of clients' packets while nobody may serve; of UDP they are dropped.
    pub during_switch: DuringSwitch,
    /// As [`Service::backends`](super::Service::backends), in the same order.
    pub members: Vec<Member>,
}

/// What it takes to change to and from one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it needs before it may serve.
    pub kind: Kind,
    /// Position of the only backend that it takes over from; none: from every one.
    pub stands_in_for: Option<usize>,
    /// Its hooks.
    pub hooks: Hooks,
}

/// The hooks of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Starts it.
    pub start: Option<Hook>,
    /// Promotes it.
    pub promote: Option<Hook>,
    /// Keeps it from serving.
    pub fence: Option<Hook>,
    /// Makes a standby of it.
    pub demote: Option<Hook>,
    /// Stops it.
    pub stop: Option<Hook>,
}

/// The keys of a service that are about standbys.
pub(super) struct Draft<'a> {
    service: String,
    patience: Option<Spanned<raw::DurationText>>,
    ready_timeout: Option<Spanned<raw::DurationText>>,
    during_switch: Option<Spanned<DuringSwitch>>,
    /// For every backend that has none of its own.
    hooks: Hooks,
    /// A key that means something only with a warm or cold standby.
    only_with_standby: Option<(&'static str, Place)>,
    members: Vec<(u8, MemberDraft)>,
    source: Source<'a>,
}

struct MemberDraft {
    name: Spanned<String>,
    kind: Kind,
    stands_in_for: Option<Spanned<String>>,
    hooks: Hooks,
    /// Its own ones and their places.
    own: Places,
    place: Place,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        service: &str,
        (patience, ready_timeout): (
            Option<Spanned<raw::DurationText>>,
            Option<Spanned<raw::DurationText>>,
        ),
        during_switch: Option<Spanned<DuringSwitch>>,
        raw: raw::Hooks,
        source: Source<'a>,
    ) -> Result<Self, Error> {
        let (hooks, own) = hooks(raw, source)?;
        let place = |key, raw: &Option<Spanned<_>>| raw.as_ref().map(|raw| (key, raw.span()));
        let only_with_standby = place("patience", &patience)
            .or_else(|| place("ready_timeout", &ready_timeout))
            .or_else(|| Some(("during_switch", during_switch.as_ref()?.span())))
            .or_else(|| own.into_iter().next());
        Ok(Self {
            service: service.to_owned(),
            patience,
            ready_timeout,
            during_switch,
            hooks,
            only_with_standby,
            members: Vec::new(),
            source,
        })
    }

    /// Takes a backend in.
    pub(super) fn backend(
        &mut self,
        priority: u8,
        name: &Spanned<String>,
        kind: Kind,
        stands_in_for: Option<Spanned<String>>,
        raw: raw::Hooks,
    ) -> Result<(), Error> {
        let (hooks, own) = hooks(raw, self.source)?;
        let member = MemberDraft {
            name: name.clone(),
            kind,
            stands_in_for,
            hooks,
            own,
            place: name.span(),
        };
        self.members.push((priority, member));
        Ok(())
    }

    /// All of it; none if the data path alone can do every takeover. `ready`: where
    /// checks are written that only a standby can have.
    pub(super) fn finish(mut self, ready: Option<Place>) -> Result<Option<Standby>, Error> {
        // As the service's backends are sorted.
        self.members.sort_by_key(|(priority, _)| *priority);
        if self
            .members
            .iter()
            .all(|(_, member)| member.kind == Kind::Hot)
        {
            self.all_hot(ready)?;
            return Ok(None);
        }
        self.hot_first()?;
        let duration = |raw: Option<Spanned<_>>, key, usual| {
            raw.map_or(Ok(usual), |raw| value::duration(&raw, key, self.source))
        };
        let patience = duration(self.patience.take(), "patience", PATIENCE)?;
        let ready_timeout = duration(self.ready_timeout.take(), "ready_timeout", READY_TIMEOUT)?;
        let members = self.members.iter();
        let members = members.map(|(_, member)| self.member(member));
        Ok(Some(Standby {
            patience,
            ready_timeout,
            during_switch: self
                .during_switch
                .as_ref()
                .map_or(DuringSwitch::Drop, |written| *written.get_ref()),
            members: members.collect::<Result<_, _>>()?,
        }))
    }

    fn all_hot(&self, ready: Option<Place>) -> Result<(), Error> {
        let of_service = self.only_with_standby.clone();
        let mut of_backends = self.members.iter().flat_map(|(_, member)| &member.own);
        let key = of_service
            .or_else(|| ready.map(|place| ("ready", place)))
            .or_else(|| of_backends.next().cloned());
        if let Some((key, place)) = key {
            let service = self.service.clone();
            return Err(self.error(place, StandbyProblem::OnlyHot { key, service }));
        }
        for (_, member) in &self.members {
            if let Some(name) = &member.stands_in_for {
                return Err(self.error(name.span(), StandbyProblem::HotStandsIn));
            }
        }
        Ok(())
    }

    /// Whoever is hot is better than whoever is not.
    fn hot_first(&self) -> Result<(), Error> {
        let mut others = self.members.iter();
        let others = others
            .by_ref()
            .filter(|(_, member)| member.kind != Kind::Hot);
        let least = others
            .map(|(priority, _)| *priority)
            .min()
            .unwrap_or(u8::MAX);
        let mut hot = self
            .members
            .iter()
            .filter(|(_, member)| member.kind == Kind::Hot);
        if let Some((_, member)) = hot.clone().find(|(priority, _)| *priority >= least) {
            let problem = StandbyProblem::HotBehind { least };
            return Err(self.error(member.place.clone(), problem));
        }
        if hot.next().is_none() {
            let service = self.service.clone();
            let (_, first) = &self.members[0];
            return Err(self.error(first.place.clone(), StandbyProblem::NobodyHot { service }));
        }
        Ok(())
    }

    fn member(&self, draft: &MemberDraft) -> Result<Member, Error> {
        let refuse = |place: &Place, problem| Err(self.error(place.clone(), problem));
        let own = |key| draft.own.iter().find(|(own, _)| *own == key);
        let mut hooks = Hooks {
            start: draft
                .hooks
                .start
                .clone()
                .or_else(|| self.hooks.start.clone()),
            promote: draft
                .hooks
                .promote
                .clone()
                .or_else(|| self.hooks.promote.clone()),
            fence: draft
                .hooks
                .fence
                .clone()
                .or_else(|| self.hooks.fence.clone()),
            demote: draft
                .hooks
                .demote
                .clone()
                .or_else(|| self.hooks.demote.clone()),
            stop: draft.hooks.stop.clone().or_else(|| self.hooks.stop.clone()),
        };
        if draft.kind != Kind::Cold {
            for key in ["start", "stop"] {
                if let Some((key, place)) = own(key) {
                    return refuse(place, StandbyProblem::OnlyCold { key });
                }
            }
            // Those of the service are for its cold standbys.
            (hooks.start, hooks.stop) = (None, None);
        }
        match draft.kind {
            Kind::Hot => {
                if let Some(name) = &draft.stands_in_for {
                    return refuse(&name.span(), StandbyProblem::HotStandsIn);
                }
                self.one_hot(draft, &hooks)?;
            }
            Kind::Warm if hooks.promote.is_none() => {
                return refuse(&draft.place, StandbyProblem::NoPromote);
            }
            Kind::Cold if hooks.start.is_none() => {
                return refuse(&draft.place, StandbyProblem::NoStart);
            }
            Kind::Warm | Kind::Cold => {}
        }
        let own_name = draft.name.get_ref();
        let stands_in_for = draft.stands_in_for.as_ref().map(|name| {
            let mut others = self.members.iter();
            let position = others.position(|(_, other)| other.name.get_ref() == name.get_ref());
            if let Some(position) = position.filter(|_| name.get_ref() != own_name) {
                return Ok(position);
            }
            let names = self.members.iter().map(|(_, other)| other.name.get_ref());
            let others: Vec<_> = names.filter(|other| *other != own_name).collect();
            let problem = StandbyProblem::StandsInForNobody {
                name: name.get_ref().clone(),
                present: list(&others),
            };
            Err(self.error(name.span(), problem))
        });
        Ok(Member {
            kind: draft.kind,
            stands_in_for: stands_in_for.transpose()?,
            hooks,
        })
    }

    /// Several hot ones serve as they are: which of them would be promoted?
    fn one_hot(&self, draft: &MemberDraft, hooks: &Hooks) -> Result<(), Error> {
        let hot = self
            .members
            .iter()
            .filter(|(_, member)| member.kind == Kind::Hot);
        if hot.count() == 1 {
            return Ok(());
        }
        for (key, hook) in [("promote", &hooks.promote), ("demote", &hooks.demote)] {
            if hook.is_some() {
                let problem = StandbyProblem::SeveralHot {
                    key,
                    backend: draft.name.get_ref().clone(),
                    service: self.service.clone(),
                };
                return Err(self.error(draft.place.clone(), problem));
            }
        }
        Ok(())
    }

    fn error(&self, place: Place, problem: StandbyProblem) -> Error {
        self.source.error(place, Problem::Standby(problem))
    }
}

/// [`Standby::during_switch`], if it is written.
pub(super) fn during_switch(
    raw: Option<Spanned<String>>,
    protocol: Protocol,
    source: Source<'_>,
) -> Result<Option<Spanned<DuringSwitch>>, Error> {
    let choices = DuringSwitch::ALL.map(|it| (it.name(), it));
    let of = |raw: Spanned<String>| {
        let value = value::keyword(&raw, "during_switch", &choices, source)?;
        if protocol == Protocol::Udp && value != DuringSwitch::Drop {
            let word = value.name();
            let problem = Problem::Standby(StandbyProblem::Datagrams { word });
            return Err(source.error(raw.span(), problem));
        }
        Ok(Spanned::new(raw.span(), value))
    };
    raw.map(of).transpose()
}

/// The hooks of one table, and where each is.
fn hooks(raw: raw::Hooks, source: Source<'_>) -> Result<(Hooks, Places), Error> {
    let raw::Hooks {
        start,
        promote,
        fence,
        demote,
        stop,
    } = raw;
    let mut places = Vec::new();
    let mut hook = |name: &'static str, raw: Option<Spanned<_>>| {
        raw.map(|raw| {
            places.push((name, raw.span()));
            Hook::new(raw, name, source)
        })
        .transpose()
    };
    let hooks = Hooks {
        start: hook("start", start)?,
        promote: hook("promote", promote)?,
        fence: hook("fence", fence)?,
        demote: hook("demote", demote)?,
        stop: hook("stop", stop)?,
    };
    Ok((hooks, places))
}
