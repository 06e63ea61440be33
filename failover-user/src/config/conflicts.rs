//! What services and backends may not share, each with the place of the first
//! to take it.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    ops::Range,
};

use failover_common::{Be16, Forward, MAX_BACKENDS, MAX_SERVICES, ReverseKey, ServiceKey};
use toml::Spanned;

use super::{
    Backend, Check, Service,
    error::{Error, Problem, StandbyProblem},
    heartbeat::Lease,
    source::Source,
};

/// Where something is written, bytes.
type Place = Range<usize>;

/// What the services read so far have taken.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    source: Source<'a>,
    names: HashMap<String, Place>,
    keys: HashMap<ServiceKey, (String, Place)>,
    /// The service that has a VIP first.
    vips: HashMap<IpAddr, (String, Place)>,
    backends: Vec<Backend>,
    backend_names: HashMap<String, Known>,
    /// The backend that has an address first.
    backend_addresses: HashMap<IpAddr, (String, Place)>,
    /// The service whose answers come from there.
    reverse: HashMap<ReverseKey, (String, Place)>,
    /// All the ways back from one address and protocol.
    ways: HashMap<(IpAddr, u8), Vec<Way>>,
    /// Those of `fullnat`, likewise.
    full_ways: HashMap<(IpAddr, u8), Vec<Way>>,
}

/// A backend that a service before has named.
#[derive(Debug)]
struct Known {
    /// Into [`Taken::backends`].
    index: usize,
    /// Of its address.
    place: Place,
    lease: Lease,
    /// The service that named it first, where, and whether it decides who is promoted.
    owner: (String, Place, bool),
}

/// The way back from a port of a backend to a service.
#[derive(Clone, Debug)]
struct Way {
    /// On the backend; 0: every port.
    port: u16,
    vip: IpAddr,
    /// Of the service; 0: every port.
    vip_port: u16,
    service: String,
    place: Place,
}

impl Way {
    /// Whether an answer could belong to either, though only one of the two is
    /// for every port: the one that is not decides how it is rewritten, which
    /// is right only where both would rewrite it alike.
    fn confuses(&self, other: &Self) -> bool {
        let one = match (self.port, other.port) {
            (0, 0) => return false,
            (0, _) => other,
            (_, 0) => self,
            _ => return false,
        };
        self.vip != other.vip || one.port != one.vip_port
    }

    /// Whether an answer from one could be from the other.
    fn meets(&self, other: &Self) -> bool {
        self.port == other.port || self.port == 0 || other.port == 0
    }
}

impl<'a> Taken<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            names: HashMap::new(),
            keys: HashMap::new(),
            vips: HashMap::new(),
            backends: Vec::new(),
            backend_names: HashMap::new(),
            backend_addresses: HashMap::new(),
            reverse: HashMap::new(),
            ways: HashMap::new(),
            full_ways: HashMap::new(),
        }
    }

    /// Takes the name, VIP and key of a service, whose backends follow.
    pub(super) fn service(
        &mut self,
        service: &Service,
        name: Place,
        vip: Place,
    ) -> Result<(), Error> {
        let source = self.source;
        if self.names.len() == MAX_SERVICES {
            return Err(source.error(name, Problem::TooManyServices));
        }
        match self.names.entry(service.name.clone()) {
            Entry::Occupied(taken) => {
                let first = source.line(taken.get().clone());
                let problem = Problem::ServiceTwice {
                    name: service.name.clone(),
                    first,
                };
                return Err(source.error(name, problem));
            }
            Entry::Vacant(free) => free.insert(name),
        };
        let address = service.address;
        if let Some((backend, place)) = self.backend_addresses.get(&address) {
            let (backend, first) = (backend.clone(), source.line(place.clone()));
            return Err(source.error(
                vip,
                Problem::VipIsBackend {
                    vip: address,
                    backend,
                    first,
                },
            ));
        }
        self.vips
            .entry(address)
            .or_insert_with(|| (service.name.clone(), vip.clone()));
        match self.keys.entry(service.key()) {
            Entry::Occupied(taken) => {
                let (other, place) = taken.get().clone();
                let what = describe(address, service.port, service);
                let problem = Problem::SameKey {
                    what,
                    service: other,
                    first: source.line(place),
                };
                Err(source.error(vip, problem))
            }
            Entry::Vacant(free) => {
                free.insert((service.name.clone(), vip));
                Ok(())
            }
        }
    }

    /// The index of the backend of this name and address, new or known, with
    /// `checks` joined to what it has, if what it has for a lease is `lease`.
    /// `promotes`: its service decides who is promoted, so no other may use it.
    pub(super) fn backend(
        &mut self,
        name: &Spanned<String>,
        promotes: bool,
        (address, place): (IpAddr, Place),
        checks: impl Iterator<Item = Check>,
        lease: Lease,
    ) -> Result<usize, Error> {
        let source = self.source;
        if let Some((service, vip)) = self.vips.get(&address) {
            let (service, first) = (service.clone(), source.line(vip.clone()));
            return Err(source.error(
                place,
                Problem::BackendIsVip {
                    address,
                    service,
                    first,
                },
            ));
        }
        let index = match self.backend_names.entry(name.get_ref().clone()) {
            Entry::Occupied(known) => {
                let known = known.get();
                let backend = &self.backends[known.index];
                if backend.address != address {
                    let (name, address) = (backend.name.clone(), backend.address);
                    let first = source.line(known.place.clone());
                    let problem = Problem::TwoAddresses {
                        name,
                        address,
                        first,
                    };
                    return Err(source.error(place, problem));
                }
                known.lease.agree(&lease, &backend.name, source)?;
                let (other, first, by_promotion) = &known.owner;
                if promotes || *by_promotion {
                    let problem = StandbyProblem::Shared {
                        backend: backend.name.clone(),
                        other: other.clone(),
                        first: source.line(first.clone()),
                    };
                    return Err(source.error(name.span(), Problem::Standby(problem)));
                }
                known.index
            }
            Entry::Vacant(new) => {
                let index = self.backends.len();
                if index == MAX_BACKENDS {
                    return Err(source.error(name.span(), Problem::TooManyBackends));
                }
                let owner = (lease.service.clone(), name.span(), promotes);
                let name = new.key().clone();
                self.backend_addresses
                    .entry(address)
                    .or_insert_with(|| (name.clone(), place.clone()));
                self.backends.push(Backend {
                    name,
                    address,
                    checks: Vec::new(),
                    ready: Vec::new(),
                    heartbeat: lease.heartbeat,
                });
                new.insert(Known {
                    index,
                    place,
                    lease,
                    owner,
                });
                index
            }
        };
        let known = &mut self.backends[index].checks;
        for check in checks {
            if !known.contains(&check) {
                known.push(check);
            }
        }
        Ok(index)
    }

    /// Gives a backend the checks that it must pass before it serves.
    pub(super) fn ready(&mut self, backend: usize, checks: impl Iterator<Item = Check>) {
        self.backends[backend].ready.extend(checks);
    }

    /// Takes the way back from `port` of a backend to `service`. Only with `nat` and
    /// `fullnat` do the answers come by here.
    pub(super) fn serves(
        &mut self,
        service: &Service,
        backend: usize,
        port: u16,
        place: Place,
    ) -> Result<(), Error> {
        let source = self.source;
        let address = self.backends[backend].address;
        let way = Way {
            port,
            vip: service.address,
            vip_port: service.port,
            service: service.name.clone(),
            place: place.clone(),
        };
        let server = (address, service.protocol.number());
        // Of `fullnat` an answer says by its own port whose it is, but `nat` takes it first.
        let others = match service.forward {
            Forward::Dsr | Forward::Ipip | Forward::Gue => return Ok(()),
            Forward::Nat => self.full_ways.get(&server),
            Forward::FullNat => self.ways.get(&server),
        };
        if let Some(other) = others.into_iter().flatten().find(|it| way.meets(it)) {
            let problem = Problem::TwoNats {
                what: describe(address, port, service),
                service: other.service.clone(),
                first: source.line(other.place.clone()),
            };
            return Err(source.error(place, problem));
        }
        if service.forward == Forward::FullNat {
            self.full_ways.entry(server).or_default().push(way);
            return Ok(());
        }
        let key = ReverseKey {
            address: address.into(),
            port: Be16::new(port),
            protocol: service.protocol.number(),
            reserved: [0; 5],
        };
        if self.reverse.len() == MAX_SERVICES && !self.reverse.contains_key(&key) {
            return Err(source.error(place, Problem::TooManyReverse));
        }
        let ways = self.ways.entry(server).or_default();
        if let Some(other) = ways.iter().find(|other| way.confuses(other)) {
            let problem = Problem::ReverseCollision {
                what: describe(address, port.max(other.port), service),
                every_port: true,
                service: other.service.clone(),
                first: source.line(other.place.clone()),
            };
            return Err(source.error(place, problem));
        }
        ways.push(way);
        match self.reverse.entry(key) {
            // By another service: in one, [`Roster`] lets a server be only once.
            Entry::Occupied(taken) => {
                let (other, first) = taken.get().clone();
                let what = describe(address, port, service);
                let problem = Problem::ReverseCollision {
                    what,
                    every_port: port == 0,
                    service: other,
                    first: source.line(first),
                };
                Err(source.error(place, problem))
            }
            Entry::Vacant(free) => {
                free.insert((service.name.clone(), place));
                Ok(())
            }
        }
    }

    /// Every backend once, in the order in which they came.
    pub(super) fn into_backends(self) -> Vec<Backend> {
        self.backends
    }
}

/// What the backends of one service read so far have taken.
#[derive(Debug)]
pub(super) struct Roster<'a> {
    source: Source<'a>,
    names: HashMap<String, Place>,
    servers: HashMap<(IpAddr, u16), (String, Place)>,
}

impl<'a> Roster<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            names: HashMap::new(),
            servers: HashMap::new(),
        }
    }

    /// Takes a name.
    pub(super) fn name(&mut self, name: &Spanned<String>) -> Result<(), Error> {
        let source = self.source;
        match self.names.insert(name.get_ref().clone(), name.span()) {
            None => Ok(()),
            Some(first) => {
                let (name, place) = (name.get_ref().clone(), name.span());
                let first = source.line(first);
                Err(source.error(place, Problem::BackendTwice { name, first }))
            }
        }
    }

    /// Takes a server: listed twice, it would be its own standby.
    pub(super) fn server(
        &mut self,
        address: IpAddr,
        port: u16,
        name: &str,
        place: Place,
    ) -> Result<(), Error> {
        let source = self.source;
        match self
            .servers
            .insert((address, port), (name.to_owned(), place.clone()))
        {
            None => Ok(()),
            Some((name, first)) => {
                let first = source.line(first);
                Err(source.error(place, Problem::SameServer { name, first }))
            }
        }
    }
}

/// One end of a connection of a service, in words.
fn describe(address: IpAddr, port: u16, service: &Service) -> String {
    let protocol = service.protocol.name();
    match port {
        0 => format!("{address}, every {protocol} port,"),
        port => format!("{address}, {protocol} port {port},"),
    }
}
