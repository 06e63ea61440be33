//! The commands of `failover`.

mod show;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{anyhow, bail};
use clap::{Parser, Subcommand};
use failover_user::{
    agent,
    api::{Answer, ApiError, Client, Request},
    config::Config,
    controller::status::Status,
    dataplane::kernel::{
        self,
        decap::{self, Director},
    },
    network,
};

/// How often `status --watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Moves services to their standby in the kernel's fastest path.
#[derive(Parser)]
#[command(name = "failover", version)]
pub(crate) struct Arguments {
    /// Unix socket of the agent.
    #[arg(
        long,
        global = true,
        default_value = "/run/failover.sock",
        value_name = "PATH"
    )]
    api: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent.
    ///
    /// When it ends, for whatever reason, the data path goes on as it is; the
    /// next agent takes it over without a packet lost.
    Run {
        /// The configuration.
        #[arg(short, long, default_value = "/etc/failover.toml", value_name = "FILE")]
        config: PathBuf,
    },
    /// Say whether a configuration is right.
    Check {
        /// The configuration.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show services, backends and counters.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Show it again every second.
        #[arg(long)]
        watch: bool,
    },
    /// Show what has happened.
    Events {
        /// Go on with what happens.
        #[arg(long)]
        follow: bool,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Move a service to another backend; it stays there until it is switched
    /// again or that backend dies.
    Switch {
        /// The service.
        service: String,
        /// The backend; without it, the best eligible one that does not serve.
        #[arg(long, value_name = "BACKEND")]
        to: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// On a backend: take packets out of the tunnels of directors.
    ///
    /// For `forward = "ipip"` and `"gue"`, where the kernel has no device for it. An XDP
    /// program takes the outer headers off what comes from these directors; the packet
    /// goes on to the network stack. The command ends and the program stays, until
    /// `--detach` or a restart of the machine. Done again, it replaces the directors.
    /// Without options, show what is attached and its counters.
    Decap {
        /// Attach the program to this interface, or remove it from there.
        #[arg(long, value_name = "INTERFACE", requires = "what")]
        interface: Option<String>,
        /// The addresses that directors send from, or networks of them.
        #[arg(
            long,
            value_name = "ADDRESS[/LENGTH]",
            value_delimiter = ',',
            group = "what",
            requires = "interface"
        )]
        from: Vec<Director>,
        /// Remove the program; without `--interface`, from all.
        #[arg(long, group = "what")]
        detach: bool,
        /// Where it is pinned.
        #[arg(
            long,
            default_value = "/sys/fs/bpf/failover-decap",
            value_name = "PATH"
        )]
        pin_path: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a backend nothing new, until it is enabled.
    ///
    /// A service with warm or cold standbys moves to another backend first.
    Drain(Maintain),
    /// Take a backend out of service, until it is enabled.
    ///
    /// A service with warm or cold standbys moves to another backend first.
    Disable(Maintain),
    /// Let a backend serve again.
    ///
    /// One that was promoted once and has no `demote` hook counts as a standby again.
    Enable {
        /// The backend.
        backend: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let a service go on that waits for a person; failover status says what to check
    /// before.
    Go {
        /// The service.
        service: String,
        /// This backend is promoted, and no other one is.
        #[arg(long, value_name = "BACKEND")]
        promoted: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove program, links, maps and service addresses. The agent must have
    /// been stopped.
    Detach {
        /// Where they are pinned.
        #[arg(long, default_value = "/sys/fs/bpf/failover", value_name = "PATH")]
        pin_path: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Maintain {
    /// The backend.
    backend: String,
    /// Why: shown by status and events.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Enable it again after this time, such as 30m.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp_micros()
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(dispatch(arguments))
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<()> {
    let api = arguments.api;
    match arguments.command {
        Command::Run { config } => agent::run(Config::load(&config)?).await,
        Command::Check { file, json } => {
            let config = Config::load(&file)?;
            show::checked(&file, &config, json);
            Ok(())
        }
        Command::Status { json, watch } => loop {
            let status = status(&api).await?;
            if watch && !json {
                show::clear();
            }
            show::status(&status, json)?;
            if !watch {
                return Ok(());
            }
            tokio::time::sleep(WATCH_EVERY).await;
        },
        Command::Events { follow, json } => {
            let mut client = Client::connect(&api).await?;
            client.send(&Request::Events { follow }).await?;
            loop {
                match client.next().await? {
                    Answer::Event(event) => show::event(&event, json)?,
                    Answer::End => return Ok(()),
                    other => return Err(unexpected(other)),
                }
            }
        }
        Command::Switch { service, to, json } => {
            let mut client = Client::connect(&api).await?;
            client
                .send(&Request::Switch {
                    service: service.clone(),
                    to,
                })
                .await?;
            match client.next().await? {
                Answer::Switched { from, to } => {
                    show::switched(&service, &from, &to, json);
                    Ok(())
                }
                other => Err(unexpected(other)),
            }
        }
        Command::Decap {
            interface,
            from,
            detach,
            pin_path,
            json,
        } => match (interface, detach) {
            (Some(interface), false) => decap(&pin_path, &interface, &from, json).await,
            (interface, true) => {
                let removed = decap::detach(&pin_path, interface.as_deref())?;
                show::decap_detached(&removed, json);
                Ok(())
            }
            (None, false) => Ok(show::decap(&decap::status(&pin_path)?, json)?),
        },
        Command::Drain(what) => maintain(&api, what, false).await,
        Command::Disable(what) => maintain(&api, what, true).await,
        Command::Enable {
            backend,
            reason,
            json,
        } => enable(&api, backend, reason, json).await,
        Command::Go {
            service,
            promoted,
            json,
        } => {
            let request = Request::Go {
                service: service.clone(),
                promoted,
            };
            order(&api, &request).await?;
            show::gone(&service, json);
            Ok(())
        }
        Command::Detach { pin_path, json } => {
            if let Ok(status) = status(&api).await {
                bail!(
                    "the agent is running (process {}): stop it first, it would put everything back",
                    status.pid
                );
            }
            let existed = kernel::detach(&pin_path)?;
            let addresses = network::Netlink::open()?.disown_addresses().await?;
            show::detached(&pin_path, existed, &addresses, json);
            Ok(())
        }
    }
}

async fn decap(
    pin_path: &Path,
    interface: &str,
    from: &[Director],
    json: bool,
) -> anyhow::Result<()> {
    let netlink = network::Netlink::open()?;
    let links = netlink.links().await?;
    let Some((_, ifindex)) = links.iter().find(|(name, _)| name == interface) else {
        let names: Vec<&str> = links.iter().map(|(name, _)| name.as_str()).collect();
        bail!("no interface `{interface}`: there are {}", names.join(", "));
    };
    let replaced = decap::attach(pin_path, interface, *ifindex, from)?;
    let xdp = netlink.xdp_mode(*ifindex).await?;
    show::decap_attached(interface, xdp, replaced, json);
    Ok(())
}

async fn maintain(api: &Path, what: Maintain, disable: bool) -> anyhow::Result<()> {
    let Maintain {
        backend,
        reason,
        time,
        json,
    } = what;
    let request = Request::Maintain {
        backend: backend.clone(),
        disable,
        reason,
        for_ms: time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    };
    order(api, &request).await?;
    let state = if disable { "disabled" } else { "drained" };
    show::maintained(&backend, state, json);
    Ok(())
}

async fn enable(
    api: &Path,
    backend: String,
    reason: Option<String>,
    json: bool,
) -> anyhow::Result<()> {
    let request = Request::Enable {
        backend: backend.clone(),
        reason,
    };
    order(api, &request).await?;
    show::maintained(&backend, "enabled", json);
    Ok(())
}

/// Says something that is only done or refused.
async fn order(api: &Path, request: &Request) -> anyhow::Result<()> {
    let mut client = Client::connect(api).await?;
    client.send(request).await?;
    match client.next().await? {
        Answer::Done => Ok(()),
        other => Err(unexpected(other)),
    }
}

async fn status(api: &Path) -> anyhow::Result<Status> {
    let mut client = Client::connect(api).await?;
    client.send(&Request::Status).await?;
    match client.next().await? {
        Answer::Status(status) => Ok(*status),
        other => Err(unexpected(other)),
    }
}

/// An answer that is not the one wanted, as an error.
fn unexpected(answer: Answer) -> anyhow::Error {
    match answer {
        Answer::Refused { error } => anyhow!(error),
        other => ApiError::Answer {
            path: "the API".into(),
            reason: format!("{other:?}"),
        }
        .into(),
    }
}
