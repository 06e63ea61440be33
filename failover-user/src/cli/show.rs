//! What the commands print. With `json`, nothing but JSON.

use std::{net::IpAddr, path::Path};

use comfy_table::{Table, presets::NOTHING};
use failover_user::{
    config::Config,
    controller::status::Status,
    dataplane::kernel::decap,
    event::{Event, What},
};
use serde_json::json;

pub(crate) fn clear() {
    // ECMA-48: erase the display, cursor home.
    print!("\x1b[2J\x1b[H");
}

pub(crate) fn checked(file: &Path, config: &Config, json: bool) {
    let (services, backends) = (config.services.len(), config.backends.len());
    if json {
        println!(
            "{}",
            json!({ "file": file, "services": services, "backends": backends })
        );
    } else {
        println!(
            "{}: ok, {services} services, {backends} backends",
            file.display()
        );
    }
}

pub(crate) fn status(status: &Status, json: bool) -> serde_json::Result<()> {
    if json {
        println!("{}", serde_json::to_string(status)?);
        return Ok(());
    }
    let mut services = table(&["SERVICE", "ADDRESS", "SERVING", "STATE", "BACKENDS"]);
    for service in &status.services {
        let port = if service.port == 0 {
            "*".to_owned()
        } else {
            service.port.to_string()
        };
        let state = match service.state.as_str() {
            "lost" => "LOST: NO ELIGIBLE BACKEND",
            other => other,
        };
        services.add_row([
            &service.name,
            &format!("{} {}/{port}", service.address, service.protocol),
            &service.serving,
            state,
            &service.backends.join(" "),
        ]);
    }
    println!("{services}\n");
    for service in &status.services {
        if let Some(promotion) = &service.promotion {
            print!("service {}: held by {}", service.name, promotion.holder);
            if let Some(to) = &promotion.to {
                print!(", on the way to {to} ({})", service.state);
            }
            if !promotion.to_rejoin.is_empty() {
                print!("; to rejoin: {}", promotion.to_rejoin.join(" "));
            }
            println!();
        }
        if let Some(budget) = &service.budget {
            println!(
                "service {}: {} of {} takeovers and failbacks within the hour",
                service.name, budget.spent, budget.limit
            );
        }
        if let Some(check) = &service.waits_for {
            println!("service {}: WAITS FOR A PERSON: {check}", service.name);
        }
    }
    let mut backends = table(&[
        "BACKEND", "ADDRESS", "STATE", "CHECKS", "PACKETS", "ANSWERS",
    ]);
    for backend in &status.backends {
        let mut state = if backend.eligible {
            "eligible".to_owned()
        } else {
            backend.holds.join(" ")
        };
        if let Some(reason) = &backend.reason {
            state = format!("{state} ({reason})");
        }
        if let Some(seconds) = backend.enabled_in_s {
            state = format!("{state}, for {seconds} s");
        }
        if let Some(penalty) = backend.penalty.filter(|penalty| *penalty > 0.0) {
            state = format!("{state}, penalty {penalty}");
        }
        if let Some(flows) = backend.flows {
            state = format!("{state}, {flows} flows");
        }
        let checks: Vec<String> = backend
            .checks
            .iter()
            .map(|check| format!("{}: {}", check.kind, check.outcome))
            .collect();
        backends.add_row([
            &backend.name,
            &backend.address,
            &state,
            &checks.join("; "),
            &backend.forwarded.packets.to_string(),
            &backend.returned.packets.to_string(),
        ]);
    }
    println!("{backends}\n");
    for interface in &status.interfaces {
        println!("interface {}: XDP {}", interface.name, interface.xdp);
    }
    for verdict in &status.verdicts {
        if verdict.traffic.packets > 0 {
            println!(
                "{:>12} packets {}",
                verdict.traffic.packets, verdict.verdict
            );
        }
    }
    Ok(())
}

pub(crate) fn event(event: &Event, json: bool) -> serde_json::Result<()> {
    if json {
        println!("{}", serde_json::to_string(event)?);
    } else {
        println!("{}  {}", event.time, event.what);
        if let What::Takeover {
            timeline: Some(timeline),
            ..
        } = &event.what
        {
            println!("{timeline}");
        }
    }
    Ok(())
}

pub(crate) fn switched(service: &str, from: &str, to: &str, json: bool) {
    if json {
        println!("{}", json!({ "service": service, "from": from, "to": to }));
    } else {
        println!("service {service}: switched from {from} to {to}");
    }
}

pub(crate) fn maintained(backend: &str, state: &str, json: bool) {
    if json {
        println!("{}", json!({ "backend": backend, "state": state }));
    } else {
        println!("backend {backend} is {state}");
    }
}

pub(crate) fn gone(service: &str, json: bool) {
    if json {
        println!("{}", json!({ "service": service, "go": true }));
    } else {
        println!("service {service} goes on");
    }
}

pub(crate) fn detached(pin_path: &Path, existed: bool, addresses: &[IpAddr], json: bool) {
    if json {
        println!(
            "{}",
            json!({ "pin_path": pin_path, "existed": existed, "addresses": addresses })
        );
    } else if existed || !addresses.is_empty() {
        println!(
            "removed the program, links and maps of {} and {} service addresses",
            pin_path.display(),
            addresses.len()
        );
    } else {
        println!("{}: nothing was there", pin_path.display());
    }
}

pub(crate) fn decap(interfaces: &[decap::Status], json: bool) -> serde_json::Result<()> {
    if json {
        println!("{}", serde_json::to_string(interfaces)?);
        return Ok(());
    }
    for interface in interfaces {
        let directors = interface.directors.join(", ");
        println!("{}: tunnels of {directors} end here", interface.interface);
        for verdict in &interface.verdicts {
            println!("{:>12} packets {}", verdict.packets, verdict.verdict);
        }
    }
    if interfaces.is_empty() {
        println!("no tunnels end here: failover decap --interface INTERFACE --from DIRECTOR");
    }
    Ok(())
}

pub(crate) fn decap_attached(interface: &str, xdp: &str, replaced: bool, json: bool) {
    if json {
        println!(
            "{}",
            json!({ "interface": interface, "xdp": xdp, "replaced": replaced })
        );
    } else {
        let what = if replaced { "replaced" } else { "attached" };
        println!("{interface}: {what}, XDP {xdp}; failover decap --detach removes it");
    }
}

pub(crate) fn decap_detached(interfaces: &[String], json: bool) {
    if json {
        println!("{}", json!({ "interfaces": interfaces }));
    } else if interfaces.is_empty() {
        println!("nothing was there");
    } else {
        println!("removed from {}", interfaces.join(", "));
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.to_vec());
    table
}
