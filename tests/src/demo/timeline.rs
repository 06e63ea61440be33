//! The demo as it happens, in words: who serves, what was answered and lost, and
//! how long nobody was served. Approximate where it has to be; the report has
//! the exact figures.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use lab::stream::Progress;
use lab::{Record, Stream, clock};

use crate::phase::STANDBY;
use crate::screen::{Screen, Tone, count, duration};
use lab::Interrupt;

/// How often the streams are asked.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How often a line that stays is written, if nothing happens.
const LINE_EVERY_NS: u64 = 500_000_000;

/// How often the line that is replaced changes, on a terminal.
const PASSING_EVERY_NS: u64 = 50_000_000;

/// How many looks it takes until a request without an answer is called lost:
/// with the time between them, far longer than an answer takes.
const LOOKS: usize = 20;

/// Fewer intervals between two answers than this are no pause: nobody asked.
const PAUSES: u64 = 3;

/// The streams, and what has been said about them.
pub(crate) struct Timeline<'a> {
    screen: Screen,
    interrupt: &'a Interrupt,
    udp: Watched,
    http: Watched,
    start_ns: u64,
    next_line_ns: u64,
    next_passing_ns: u64,
}

/// A stream and what was seen of it so far.
struct Watched {
    name: &'static str,
    stream: Stream,
    /// Between two requests.
    interval_ns: u64,
    now: Progress,
    /// The host that was announced as serving.
    announced: Option<Arc<str>>,
    /// Requests without an answer at each of the last looks, the newest last.
    open: VecDeque<usize>,
    /// Answered at each of the last looks, the newest last.
    answered: VecDeque<usize>,
}

impl<'a> Timeline<'a> {
    /// Watches two streams, each with its requests a second, from now on.
    pub(crate) fn new(
        screen: Screen,
        interrupt: &'a Interrupt,
        (udp, udp_rate): (Stream, u32),
        (http, http_rate): (Stream, u32),
    ) -> Self {
        let heading = format!(
            "{:>8}  {:<9}{:>14}{:>8}{:>15}{:>8}{:>20}",
            "time", "serves", "UDP answered", "lost", "HTTP answered", "lost", "UDP silent at most"
        );
        screen.line(screen.paint(Tone::Strong, heading));
        let start_ns = clock::now_ns();
        Self {
            screen,
            interrupt,
            udp: Watched::new("UDP", udp, udp_rate),
            http: Watched::new("HTTP", http, http_rate),
            start_ns,
            next_line_ns: start_ns + LINE_EVERY_NS,
            next_passing_ns: start_ns,
        }
    }

    /// Shows what happens for some time, or until `both` streams were last
    /// answered by the same given host; says whether that became true.
    pub(crate) fn watch_until(&mut self, both: Option<&str>, limit: Duration) -> Result<bool> {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let end_ns = clock::now_ns().saturating_add(limit_ns);
        loop {
            self.interrupt.check()?;
            self.look();
            if both.is_some_and(|host| self.served_by(host)) {
                return Ok(true);
            }
            if clock::now_ns() >= end_ns {
                return Ok(false);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// [`Timeline::watch_until`] the time is over.
    pub(crate) fn watch(&mut self, time: Duration) -> Result<()> {
        self.watch_until(None, time).map(|_nothing_was_awaited| ())
    }

    /// Whether this host gave the newest answer of both streams.
    pub(crate) fn served_by(&self, host: &str) -> bool {
        let by = |watched: &Watched| watched.now.serving.as_deref() == Some(host);
        by(&self.udp) && by(&self.http)
    }

    /// Says that something was done.
    pub(crate) fn say(&mut self, tone: Tone, text: &str) {
        let line = format!("{}  {}", self.time(), self.screen.paint(tone, text));
        self.screen.line(line);
    }

    /// Ends the streams: what those of UDP and HTTP saw.
    pub(crate) fn stop(self) -> (Record, Record) {
        self.screen.line(self.status());
        let Self { udp, http, .. } = self;
        // Both at once: to stop one is to wait for its late answers.
        let udp = thread::spawn(move || udp.stream.stop());
        let http = http.stream.stop();
        (udp.join().unwrap_or_default(), http)
    }

    fn look(&mut self) {
        for watched in [&mut self.udp, &mut self.http] {
            watched.look();
        }
        let news = [self.udp.news(), self.http.news()];
        for text in news.into_iter().flatten() {
            self.say(Tone::Good, &text);
        }
        let now = clock::now_ns();
        if now >= self.next_line_ns {
            self.next_line_ns += LINE_EVERY_NS;
            self.screen.line(self.status());
        } else if now >= self.next_passing_ns {
            self.next_passing_ns = now + PASSING_EVERY_NS;
            self.screen.passing(self.status());
        }
    }

    fn time(&self) -> String {
        let ms = (clock::now_ns() - self.start_ns) / 1_000_000;
        let time = format!("{:>4}.{:03} s", ms / 1_000, ms % 1_000);
        self.screen.paint(Tone::Quiet, time)
    }

    fn status(&self) -> String {
        let (serving, tone) = match self.udp.now.serving.as_deref() {
            _ if self.udp.is_silent() => ("nobody", Tone::Bad),
            None => ("nobody", Tone::Bad),
            Some(host) if host == STANDBY => (host, Tone::Standby),
            Some(host) => (host, Tone::Primary),
        };
        let silence = self.udp.now.longest_silence_ns;
        format!(
            "{}  {}{:>14}{:>8}{:>15}{:>8}{:>20}",
            self.time(),
            self.screen.paint(tone, format_args!("{serving:<9}")),
            count(self.udp.now.answered),
            count(self.udp.lost()),
            count(self.http.now.answered),
            count(self.http.lost()),
            duration(silence),
        )
    }
}

impl Watched {
    fn new(name: &'static str, stream: Stream, rate: u32) -> Self {
        Self {
            name,
            interval_ns: 1_000_000_000 / u64::from(rate),
            now: stream.progress(),
            stream,
            announced: None,
            open: VecDeque::with_capacity(LOOKS),
            answered: VecDeque::with_capacity(LOOKS),
        }
    }

    fn look(&mut self) {
        self.now = self.stream.progress();
        let open = self.now.sent.saturating_sub(self.now.answered);
        for (looks, new) in [
            (&mut self.open, open),
            (&mut self.answered, self.now.answered),
        ] {
            if looks.len() == LOOKS {
                looks.pop_front();
            }
            looks.push_back(new);
        }
    }

    /// Who serves now, if that is news.
    fn news(&mut self) -> Option<String> {
        let serving = self.now.serving.clone()?;
        if self.announced.as_ref() == Some(&serving) {
            return None;
        }
        let text = match self.announced {
            None => format!("{}: the {serving} answers", self.name),
            Some(_) if self.now.handover_ns < PAUSES * self.interval_ns => {
                format!("{}: the {serving} answers, without a pause", self.name)
            }
            Some(_) => format!(
                "{}: the {serving} answers; nobody was served for {}",
                self.name,
                duration(self.now.handover_ns)
            ),
        };
        self.announced = Some(serving);
        Some(text)
    }

    /// Requests that were not answered; the newest ones still may be.
    fn lost(&self) -> usize {
        self.open.iter().min().copied().unwrap_or_default()
    }

    /// No answer came over all the last looks.
    fn is_silent(&self) -> bool {
        self.answered.len() == LOOKS && self.answered.front() == self.answered.back()
    }
}
