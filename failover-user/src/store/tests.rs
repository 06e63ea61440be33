use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use super::*;
use crate::event::{Event, History, REMEMBERED, What};

fn kept() -> Kept {
    let mut kept = Kept::default();
    let service = kept.services.entry("db".into()).or_default();
    service.spent = vec![1, 2];
    let backend = kept.backends.entry("db-a".into()).or_default();
    backend.maintenance = Some(Maintenance {
        disabled: true,
        reason: Some("new disk".into()),
        until: Some(7),
    });
    kept
}

#[test]
fn what_is_saved_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er");
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), None);
    store.save(kept()).unwrap();
    let file = path.join(FILE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&file)), (0o700, 0o600));
    let mut next = Store::open(&path).unwrap();
    let loaded = next.load().unwrap().unwrap();
    assert_eq!(
        loaded,
        Kept {
            version: VERSION,
            ..kept()
        }
    );
    // What is there is not written again.
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    next.save(loaded).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
    // Half of a new one, as a crash leaves it, is nothing.
    fs::write(path.join(NEW), "{ \"vers").unwrap();
    assert!(Store::open(&path).unwrap().load().unwrap().is_some());
}

#[test]
fn what_cannot_be_read_is_put_aside() {
    let rows = [
        ("not JSON", "{ \"vers", "EOF while parsing"),
        (
            "empty, as after a crash of other file systems",
            "",
            "EOF while parsing",
        ),
        ("not ours", "{\"a\":1}", "unknown field `a`"),
        (
            "newer",
            "{\"version\":9,\"services\":{},\"backends\":{}}",
            "it has version 9, not 1",
        ),
        ("bytes", "\u{0}\u{1}", "expected value"),
    ];
    for (description, text, says) in rows {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, text).unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let error = store.load().expect_err(description).to_string();
        assert!(error.contains(says), "{description}: {error}");
        assert!(error.contains(BROKEN), "{description}: {error}");
        let broken = fs::read_to_string(directory.path().join(BROKEN)).unwrap();
        assert_eq!(broken, text, "{description}");
        store.save(kept()).unwrap();
        assert!(store.load().unwrap().is_some(), "{description}");
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("store")).unwrap_err().to_string();
    assert!(error.contains("/file/store: cannot make it"), "{error}");
    assert!(error.contains("agent.state"), "{error}");
    // A directory in the place of the file that is written first.
    fs::create_dir(directory.path().join(NEW)).unwrap();
    let error = Store::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("cannot write it"), "{error}");
}

fn event(number: u64) -> Event {
    let interface = "eth0".into();
    let state = "up".into();
    Event::new(
        Duration::from_nanos(number),
        What::Link { interface, state },
    )
}

#[test]
fn events_are_kept_and_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let file = directory.path().join("events.jsonl");
    let mut journal = store.journal();
    assert!(journal.read().is_empty());
    let mut history = History::default();
    let remembered = u64::try_from(REMEMBERED).unwrap();
    for number in 0..remembered * 5 / 2 {
        history.push(event(number));
        journal.add(&event(number), || history.all()).unwrap();
        let lines = fs::read(&file).unwrap();
        if number % 500 == 0 {
            let lines = lines.split(|byte| *byte == b'\n').count();
            assert!(lines <= 2 * REMEMBERED + 1, "{lines} lines");
        }
    }
    // A crash cuts the last line off.
    let mut text = fs::read(&file).unwrap();
    text.truncate(text.len() - 5);
    fs::write(&file, text).unwrap();
    let mut journal = store.journal();
    let read = journal.read();
    assert_eq!(read.len(), REMEMBERED);
    assert_eq!(read.last(), Some(&event(remembered * 5 / 2 - 2)));
    journal
        .add(&event(1), || [read, vec![event(1)]].concat())
        .unwrap();
    assert_eq!(store.journal().read().last(), Some(&event(1)));
}
