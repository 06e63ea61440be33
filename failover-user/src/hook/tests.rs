use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
    time::Instant,
};

use tempfile::TempDir;

use super::*;
use crate::config::Method;

const LIMIT: Duration = Duration::from_millis(500);

fn context() -> Context {
    Context {
        hook: "fence",
        service: "db".into(),
        backend: Some("db-a".into()),
        address: Some([10, 0, 0, 11].into()),
        from: "db-a".into(),
        to: "db-b".into(),
        reason: "died".into(),
        attempt: 1,
        event: None,
    }
}

fn hook(action: Action, retries: u32) -> Hook {
    Hook {
        action,
        timeout: LIMIT,
        retries,
        backoff: Duration::from_millis(10),
        required: true,
    }
}

/// A program in a directory of its own.
fn script(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hook");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    (directory, path)
}

fn command(program: PathBuf, arguments: &[&str]) -> Action {
    let arguments = arguments.iter().map(ToString::to_string).collect();
    Action::Command { program, arguments }
}

/// All reports of one run.
async fn reports(hook: Hook, context: Context) -> Vec<(Ending, String)> {
    let (sender, mut receiver) = mpsc::channel(REPORTS);
    run((), hook, context, Arc::new(Semaphore::new(1)), sender).await;
    let mut reports = Vec::new();
    while let Some(report) = receiver.recv().await {
        assert_eq!(report.last, receiver.is_empty());
        reports.push((report.ending, report.text));
    }
    reports
}

#[tokio::test]
async fn what_programs_do() {
    let rows = [
        ("succeeds", "exit 0", Ending::Done, ""),
        (
            "is told by its environment",
            "echo $FAILOVER_HOOK $FAILOVER_SERVICE $FAILOVER_BACKEND $FAILOVER_ADDRESS $FAILOVER_FROM $FAILOVER_TO $FAILOVER_REASON $FAILOVER_ATTEMPT $*",
            Ending::Done,
            "fence db db-a 10.0.0.11 db-a db-b died 1 a b; c",
        ),
        (
            "is told on standard input",
            "cat",
            Ending::Done,
            r#"{"hook":"fence","service":"db","backend":"db-a","address":"10.0.0.11","from":"db-a","to":"db-b","reason":"died","attempt":1}"#,
        ),
        (
            "fails and says why",
            "echo out; echo why >&2; exit 3",
            Ending::Failed,
            "exit status: 3: why",
        ),
        (
            "kills itself",
            "kill -9 $$",
            Ending::Failed,
            "signal: 9 (SIGKILL)",
        ),
        (
            "hangs",
            "sleep 60",
            Ending::Unknown,
            "did not end within 500ms",
        ),
        (
            "hangs with children",
            "sleep 60 & sleep 60 & wait",
            Ending::Unknown,
            "did not end within 500ms",
        ),
        (
            "leaves a child behind that holds its output",
            "sleep 60 & echo done",
            Ending::Done,
            "done",
        ),
        (
            "prints 10 MB",
            "head -c 10485760 /dev/zero | tr '\\0' x",
            Ending::Done,
            "xxxxxxxx",
        ),
        (
            "prints garbage",
            "printf '\\377\\376'",
            Ending::Done,
            "\u{fffd}\u{fffd}",
        ),
    ];
    for (description, text, ending, says) in rows {
        let (_directory, path) = script(&format!("#!/bin/sh\n{text}\n"));
        let before = Instant::now();
        let hook = hook(command(path, &["a", "b; c"]), 0);
        let [(ended, said)] = &reports(hook, context()).await[..] else {
            panic!("{description}: not one attempt");
        };
        assert_eq!(*ended, ending, "{description}: {said}");
        assert!(
            said.starts_with(says) && said.len() <= 4096,
            "{description}: {said}"
        );
        assert!(says.is_empty() == said.is_empty(), "{description}: {said}");
        assert!(before.elapsed() < LIMIT * 4, "{description}");
    }
}

#[tokio::test]
async fn at_the_timeout_its_children_die_too() {
    let (directory, path) = script("#!/bin/sh\n(sleep 1; touch \"$1\") & wait\n");
    let file = directory.path().join("late");
    let action = command(path, &[file.to_str().unwrap()]);
    let ended = reports(hook(action, 0), context()).await;
    assert_eq!(ended[0].0, Ending::Unknown);
    sleep(Duration::from_millis(1200)).await;
    assert!(!file.exists(), "a child lived on");
}

#[tokio::test]
async fn attempts() {
    // Succeeds at the third attempt.
    let rows = [
        (
            "fence",
            "exit",
            3,
            vec![Ending::Failed, Ending::Failed, Ending::Done],
        ),
        ("fence", "exit", 1, vec![Ending::Failed, Ending::Failed]),
        (
            "fence",
            "sleep",
            3,
            vec![Ending::Unknown, Ending::Unknown, Ending::Done],
        ),
        (
            "promote",
            "exit",
            3,
            vec![Ending::Failed, Ending::Failed, Ending::Done],
        ),
        // It may have been promoted: not again.
        ("promote", "sleep", 3, vec![Ending::Unknown]),
    ];
    for (name, word, retries, endings) in rows {
        let (_directory, path) = script("#!/bin/sh\n[ $FAILOVER_ATTEMPT = 3 ] || $1 7\n");
        let mut context = context();
        context.hook = name;
        let ended = reports(hook(command(path, &[word]), retries), context).await;
        let ended: Vec<Ending> = ended.into_iter().map(|(ending, _)| ending).collect();
        assert_eq!(ended, endings, "{name} {word} {retries}");
    }
}

#[tokio::test]
async fn what_is_not_run() {
    type Spoil = fn(&std::path::Path);
    let rows: [(&str, Spoil, &str); 6] = [
        (
            "gone",
            |path| fs::remove_file(path).unwrap(),
            "No such file",
        ),
        (
            "not executable",
            |path| {
                fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
            },
            "chmod +x it",
        ),
        (
            "a directory",
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            "no file that can be executed",
        ),
        (
            "others may write it",
            |path| {
                fs::set_permissions(path, Permissions::from_mode(0o757)).unwrap();
            },
            "chmod go-w it",
        ),
        (
            "others may write its directory",
            |path| {
                fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o770)).unwrap();
            },
            "chmod go-w it",
        ),
        (
            "another one's",
            |path| chown(path, Some(12345), None).unwrap(),
            "belongs to user 12345",
        ),
    ];
    for (description, spoil, says) in rows {
        let (_directory, path) = script("#!/bin/sh\n");
        spoil(&path);
        let ended = reports(hook(command(path, &[]), 0), context()).await;
        assert_eq!(ended[0].0, Ending::Failed, "{description}");
        assert!(ended[0].1.contains(says), "{description}: {}", ended[0].1);
    }
    let (_directory, path) = script("\u{7f}not a program");
    let ended = reports(hook(command(path, &[]), 0), context()).await;
    assert!(ended[0].1.starts_with("cannot run"), "{ended:?}");
}

#[tokio::test]
async fn requests() {
    let rows = [
        (
            "success",
            "HTTP/1.1 204 No Content\r\n\r\n",
            Ending::Done,
            "204 No Content",
        ),
        (
            "refused",
            "HTTP/1.1 503 Busy\r\n\r\n",
            Ending::Failed,
            "status 503",
        ),
        (
            "garbage",
            "\u{1}\u{2}\r\n\r\n",
            Ending::Failed,
            "cannot reach",
        ),
        ("closed", "", Ending::Failed, "cannot reach"),
    ];
    for (description, answer, ending, says) in rows {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let mut read = 0;
            while !String::from_utf8_lossy(&request[..read]).contains("\"attempt\":1}") {
                read += stream.read(&mut request[read..]).unwrap();
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let action = Action::Http {
            to,
            path: "/fence?x=1".into(),
            method: Method::Put,
        };
        let ended = reports(hook(action, 0), context()).await;
        assert_eq!(ended[0].0, ending, "{description}");
        assert!(ended[0].1.contains(says), "{description}: {}", ended[0].1);
        let request = server.join().unwrap();
        assert!(
            request.starts_with("PUT /fence?x=1 HTTP/1.1\r\n"),
            "{request}"
        );
    }
    // Nobody listens; somebody does and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let action = Action::Http {
        to,
        path: "/".into(),
        method: Method::Post,
    };
    let ended = reports(hook(action.clone(), 0), context()).await;
    assert_eq!(ended[0].0, Ending::Unknown);
    drop(listener);
    let ended = reports(hook(action, 0), context()).await;
    assert_eq!(ended[0].0, Ending::Failed);
}
