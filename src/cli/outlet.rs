//! Streams that may be full, or that nobody reads: a thread of its own writes to each, and nobody waits for it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::text::{visible, visible_json};

/// Lines that wait to be written.
const WAITING: usize = 1024;
/// Lines that the log takes at once, and in each second after that: a library that complains without end must not fill a disk.
const BURST: f64 = 1000.0;
const LINES_A_SECOND: f64 = 100.0;
/// How often the end of what waits is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// The log on standard error: what it does not take is counted and left out.
#[derive(Debug, Clone)]
pub struct Log {
    /// Its lines are JSON, which spells out characters in its own way.
    is_json: bool,
    lines: SyncSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
    allowance: Arc<Mutex<Allowance>>,
}

/// Lines that may be written now.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: BURST, at: now }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Instant) -> bool {
        self.left = (self.left + LINES_A_SECOND * now.duration_since(self.at).as_secs_f64()).min(BURST);
        self.at = now;
        let is_left = self.left >= 1.0;
        self.left -= f64::from(u8::from(is_left));
        is_left
    }
}

impl Log {
    /// Starts the thread; `is_json` says how lines are formatted.
    ///
    /// # Errors
    /// The operating system's, if it cannot be started.
    pub fn start(is_json: bool) -> io::Result<Self> {
        let (lines, taken) = sync_channel::<Vec<u8>>(WAITING);
        let allowance = Arc::new(Mutex::new(Allowance::new(Instant::now())));
        let log = Self { is_json, lines, waiting: Arc::default(), lost: Arc::default(), allowance };
        let (waiting, lost) = (Arc::clone(&log.waiting), Arc::clone(&log.lost));
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let mut stream = io::stderr();
            for line in taken {
                // A full disk, a reader that is gone: there is nowhere to say so.
                let _ = stream.write_all(&line);
                let left_out = lost.swap(0, Ordering::Relaxed);
                if left_out > 0 {
                    let _ = writeln!(
                        stream,
                        "{left_out} lines of the log are left out: they came too fast, or were not read in time"
                    );
                }
                waiting.fetch_sub(1, Ordering::Release);
            }
        })?;
        Ok(log)
    }

    /// Whether its lines are for programs.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// Waits until all is written, but no longer than `most`.
    pub fn finish(&self, most: Duration) {
        let end = Instant::now() + most;
        while self.waiting.load(Ordering::Acquire) > 0 && Instant::now() < end {
            std::thread::sleep(LOOK);
        }
    }
}

impl Write for Log {
    /// Takes one event as it is formatted.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if !self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(event.len());
        }
        let text = String::from_utf8_lossy(event);
        let text = text.trim_end_matches('\n');
        let line = if self.is_json { visible_json(text).into_owned() } else { visible(text) } + "\n";
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.lines.try_send(line.into_bytes()).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Standard output: who sends waits until it takes what was sent before, and may stop waiting.
pub struct Printer {
    texts: tokio::sync::mpsc::Sender<String>,
    finished: tokio::sync::oneshot::Receiver<()>,
}

impl Printer {
    /// Starts the thread, which ends once nobody reads.
    ///
    /// # Errors
    /// The operating system's, if it cannot be started.
    pub fn start() -> io::Result<Self> {
        let (texts, mut taken) = tokio::sync::mpsc::channel::<String>(1);
        let (finish, finished) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("printer".to_owned()).spawn(move || {
            while let Some(text) = taken.blocking_recv() {
                let mut stream = io::stdout();
                if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
                    break;
                }
            }
            let _ = finish.send(());
        })?;
        Ok(Self { texts, finished })
    }

    /// False once nobody reads.
    pub async fn print(&self, text: String) -> bool {
        self.texts.send(text).await.is_ok()
    }

    /// Waits until all is written, but no longer than `most`.
    pub async fn finish(self, most: Duration) {
        drop(self.texts);
        let _ = tokio::time::timeout(most, self.finished).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_takes_a_burst_and_then_so_many_lines_a_second() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let mut taken = |after: u64, lines: usize| {
            let now = start + Duration::from_secs(after);
            (0..lines).filter(|_| allowance.take(now)).count()
        };
        assert_eq!(taken(0, 5000), 1000);
        assert_eq!(taken(2, 5000), 200);
        assert_eq!(taken(2, 5000), 0);
        assert_eq!(taken(3600, 5000), 1000);
    }
}
