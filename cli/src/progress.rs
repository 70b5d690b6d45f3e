//! The work that is going on, on stderr, if that is a terminal and it takes a while.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that takes less than this goes without a word.
const PATIENCE: Duration = Duration::from_millis(700);

/// How often the spinner turns: seldom, as something may be being timed.
const TICK: Duration = Duration::from_millis(200);

/// A spinner that appears when a command turns out to take long, and is gone at the end.
#[derive(Debug)]
pub struct Progress {
    message: Arc<Mutex<String>>,
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts with what is done first.
    pub fn new(message: impl Into<String>) -> Self {
        let message = Arc::new(Mutex::new(message.into()));
        if !std::io::stderr().is_terminal() {
            return Self { message, running: None };
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let shown = message.clone();
        let body = move || {
            let start = Instant::now();
            let mut bar: Option<ProgressBar> = None;
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if start.elapsed() >= PATIENCE {
                    let bar = bar.get_or_insert_with(spinner);
                    bar.set_message(shown.lock().unwrap_or_else(PoisonError::into_inner).clone());
                    bar.tick();
                }
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        };
        // Without a thread there is no spinner, and that is no reason to fail.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(body).ok();
        Self { message, running: thread.map(|t| (stop, t)) }
    }

    /// Says what is done next.
    pub fn say(&self, message: impl Into<String>) {
        if self.running.is_some() {
            *self.message.lock().unwrap_or_else(PoisonError::into_inner) = message.into();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // It panics nowhere; if it did, the work it reported on would still be done.
            let _ = thread.join();
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar
}
