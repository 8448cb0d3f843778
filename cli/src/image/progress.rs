//! How far a copy is, on standard error: bars on a terminal, plain lines elsewhere.

use std::{
    collections::HashMap,
    io::{IsTerminal as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use registry_client::{CopyEvent, Direction, Mount, Progress};
use registry_types::{Descriptor, Digest};

use super::size;
use crate::arguments::ProgressChoice;

/// How often plain lines tell of a long blob that is still on its way: often enough for a job that is watched.
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Live,
    Plain,
    Quiet,
}

/// Shows copies. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Display(Arc<Mutex<State>>);

struct State {
    style: Style,
    started: Instant,
    bars: MultiProgress,
    blobs: HashMap<Digest, Blob>,
}

struct Blob {
    size: u64,
    started: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Display {
    pub(super) fn new(choice: ProgressChoice) -> Self {
        Self::with(match choice {
            ProgressChoice::Quiet => Style::Quiet,
            ProgressChoice::Tty => Style::Live,
            ProgressChoice::Auto if std::io::stderr().is_terminal() => Style::Live,
            ProgressChoice::Auto | ProgressChoice::Plain => Style::Plain,
        })
    }

    fn with(style: Style) -> Self {
        let bars = MultiProgress::with_draw_target(if style == Style::Live {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        Self(Arc::new(Mutex::new(State { style, started: Instant::now(), bars, blobs: HashMap::new() })))
    }

    pub(super) fn event(&self, event: &CopyEvent) {
        self.act(|state| match event {
            CopyEvent::BlobStarted { descriptor } => state.begin(descriptor),
            CopyEvent::BlobPosition { digest, position } => state.position(digest, *position),
            CopyEvent::BlobDone { descriptor, how } => state.done(descriptor, *how),
            CopyEvent::ManifestDone { descriptor } => {
                state.line(&format!("put manifest {}", descriptor.digest))
            }
            CopyEvent::ImageDone { digest } => state.line(&format!("image {digest} is whole")),
        });
    }

    /// Takes the bars away, also those of blobs that failed.
    pub(super) fn close(&self) {
        self.act(|state| {
            for (_, blob) in state.blobs.drain() {
                blob.bar.iter().for_each(ProgressBar::finish_and_clear);
            }
        });
    }

    fn act(&self, act: impl FnOnce(&mut State)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Display {
    /// What a registry has taken is what counts; its bytes are pulled a little ahead.
    fn position(&self, direction: Direction, digest: &Digest, position: u64) {
        if direction == Direction::Push {
            self.act(|state| state.position(digest, position));
        }
    }
}

impl State {
    fn begin(&mut self, descriptor: &Descriptor) {
        let bar = (self.style == Style::Live).then(|| {
            let bar = self.bars.add(ProgressBar::new(descriptor.size));
            let template = "{msg} {wide_bar} {bytes:>11} of {total_bytes:11} {bytes_per_sec:>14}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(descriptor.digest.short());
            bar
        });
        let now = Instant::now();
        self.blobs.insert(descriptor.digest, Blob { size: descriptor.size, started: now, told: now, bar });
    }

    fn position(&mut self, digest: &Digest, position: u64) {
        let Some(blob) = self.blobs.get_mut(digest) else { return };
        if let Some(bar) = &blob.bar {
            bar.set_position(position);
        } else if blob.told.elapsed() >= LINE_EVERY {
            blob.told = Instant::now();
            let line = format!("blob {}: {} of {}", digest.short(), size(position), size(blob.size));
            self.line(&line);
        }
    }

    fn done(&mut self, descriptor: &Descriptor, how: Mount) {
        let blob = self.blobs.remove(&descriptor.digest);
        let took = blob.map(|blob| {
            blob.bar.iter().for_each(ProgressBar::finish_and_clear);
            blob.started.elapsed()
        });
        let how = match how {
            Mount::Existed => "was there".to_owned(),
            Mount::Mounted => "mounted".to_owned(),
            Mount::Uploaded => format!("copied in {:.2} s", took.unwrap_or_default().as_secs_f64()),
        };
        self.line(&format!("blob {} ({}) {how}", descriptor.digest.short(), size(descriptor.size)));
    }

    fn line(&self, text: &str) {
        let stamped = format!("[{:>7.2}] {text}", self.started.elapsed().as_secs_f64());
        match self.style {
            Style::Quiet => {}
            // Above the bars; where standard error is no terminal after all, indicatif shows nothing.
            Style::Live if std::io::stderr().is_terminal() && self.bars.println(&stamped).is_ok() => {}
            // A closed standard error must not end a copy.
            Style::Live | Style::Plain => {
                let _ = writeln!(std::io::stderr(), "{stamped}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use registry_types::MediaType;

    use super::*;

    #[test]
    fn a_blob_is_shown_from_its_start_to_its_end() {
        let display = Display::with(Style::Live);
        let descriptor = Descriptor::new(MediaType::known(MediaType::OCI_LAYER), Digest::sha256(b"x"), 100);
        let shown = |display: &Display| {
            let state = display.0.lock().unwrap();
            state.blobs.get(&descriptor.digest).and_then(|blob| Some(blob.bar.as_ref()?.position()))
        };
        display.event(&CopyEvent::BlobStarted { descriptor: descriptor.clone() });
        assert_eq!(shown(&display), Some(0));
        display.position(Direction::Push, &descriptor.digest, 40);
        display.position(Direction::Pull, &descriptor.digest, 90);
        assert_eq!(shown(&display), Some(40), "what was read counts as written");
        display.event(&CopyEvent::BlobDone { descriptor: descriptor.clone(), how: Mount::Uploaded });
        assert_eq!(shown(&display), None);
    }
}
