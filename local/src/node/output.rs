//! What containers write: files with a time on each line, bounded, kept a while after the pod is gone.
//!
//! A pod's files are in `logs/NAMESPACE_POD_UID/CONTAINER/RUN.log`, with what was rotated out beside it in
//! `RUN.log.1`. A line is the time, `F` (or `P` where a long line goes on in the next), and the text. They are made when
//! there is something to write, or at the end of the run: no container waits for them.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::clock::Clock;
use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{mpsc, watch},
};

use crate::{
    logs::{self, Options, Refusal},
    node::kept,
};

/// A file that reaches this size is put aside, in place of the one put aside before: a container keeps at
/// most twice this, as kubelet's default `containerLogMaxSize` has it.
const LARGEST_FILE: u64 = 10 << 20;
/// A longer line is stored in parts, as container runtimes do.
const LONGEST_PART: usize = 16 << 10;
/// Pieces of a log on their way to a reader; a slow reader holds up only its own task.
const PIECES: usize = 8;
/// Size of a piece read from a file.
const PIECE: usize = 32 << 10;

/// Names one container of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
}

/// The logs of all pods of the node.
#[derive(Clone)]
pub struct Outputs {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    clock: Clock,
    /// The containers whose output is being written now.
    live: Mutex<HashMap<PathBuf, watch::Receiver<u64>>>,
}

/// Writes the output of one run of a container.
pub struct Output {
    path: PathBuf,
    /// Absent until something was written.
    file: Option<File>,
    labels: Option<BTreeMap<String, String>>,
    size: u64,
    largest: u64,
    /// Counts writes; readers who follow wait for it to change, and end when it is dropped.
    written: watch::Sender<u64>,
    /// The beginning of a line whose end has not come.
    unfinished: Vec<u8>,
    outputs: Outputs,
}

impl Outputs {
    /// The logs below `folder`; those of pods beyond what is kept go, oldest first.
    pub fn open(folder: PathBuf, clock: Clock) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let outputs = Self { shared: Arc::new(Shared { folder, clock, live: Mutex::default() }) };
        outputs.prune();
        Ok(outputs)
    }

    /// Begins the output of a run of a container of a pod with these labels.
    pub fn begin(
        &self,
        place: &Place,
        labels: Option<&BTreeMap<String, String>>,
        attempt: u32,
    ) -> Output {
        let folder = self.folder(place);
        if let Some(old) = attempt.checked_sub(2) {
            // Only the run before is ever asked for. It may never have run.
            let old = folder.join(format!("{old}.log"));
            let _ = fs::remove_file(rotated(&old));
            let _ = fs::remove_file(old);
        }
        let path = folder.join(format!("{attempt}.log"));
        let (written, changes) = watch::channel(0);
        self.shared.live.lock().insert(path.clone(), changes);
        Output {
            path,
            file: None,
            labels: labels.cloned(),
            size: 0,
            largest: LARGEST_FILE,
            written,
            unfinished: Vec::new(),
            outputs: self.clone(),
        }
    }

    /// Notes that a pod is gone: its logs stay until newer ones take their place.
    pub fn prune(&self) {
        let live: Vec<PathBuf> = self.shared.live.lock().keys().cloned().collect();
        kept::prune(&self.shared.folder, |pod| live.iter().any(|it| it.starts_with(pod)));
    }

    fn pod_folder(&self, place: &Place) -> PathBuf {
        let Place { namespace, pod, uid, .. } = place;
        self.shared.folder.join(format!("{namespace}_{pod}_{uid}"))
    }

    fn folder(&self, place: &Place) -> PathBuf {
        self.pod_folder(place).join(&place.container)
    }

    /// The log of one container, in pieces; the channel closes at its end.
    fn pieces(&self, place: &Place, options: Options) -> Result<mpsc::Receiver<Bytes>, Refusal> {
        let folder = self.folder(place);
        let mut runs = runs(&folder);
        // The last run may not have written anything.
        let live = self.shared.live.lock();
        runs.extend(live.keys().filter(|it| it.parent() == Some(&*folder)).cloned());
        drop(live);
        runs.sort_by_cached_key(|it| attempt(it));
        runs.dedup();
        let Place { container, pod, .. } = place;
        if options.previous {
            runs.pop();
        }
        let Some(path) = runs.pop() else {
            let message = if options.previous {
                format!("previous terminated container \"{container}\" in pod \"{pod}\" not found")
            } else {
                format!(
                    "container \"{container}\" in pod \"{pod}\" is waiting to start: ContainerCreating"
                )
            };
            return Err(Refusal { message, internal: false });
        };
        let changes = self.shared.live.lock().get(&path).filter(|_| options.follow).cloned();
        let (send, pieces) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            if let Err(error) = copy(&path, options, changes, &send).await {
                tracing::warn!(file = %path.display(), %error, "read a log");
            }
        });
        Ok(pieces)
    }
}

impl logs::Logs for Outputs {
    fn read(
        &self,
        pod: &Value,
        options: Options,
    ) -> Pin<Box<dyn Future<Output = Result<logs::Output, Refusal>> + Send>> {
        let text = |name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
        let place = Place {
            namespace: text("namespace"),
            pod: text("name"),
            uid: text("uid"),
            container: options.container.clone(),
        };
        let pieces = self.pieces(&place, options);
        Box::pin(async move {
            let mut pieces = pieces?;
            let stream = futures::stream::poll_fn(move |context| pieces.poll_recv(context));
            Ok(Box::pin(stream) as logs::Output)
        })
    }
}

/// The files of a container's runs, oldest first.
pub(super) fn runs(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path());
    let mut runs: Vec<PathBuf> = files.filter(|it| attempt(it).is_some()).collect();
    runs.sort_by_cached_key(|it| attempt(it));
    runs
}

/// The number of the run whose file that is.
fn attempt(path: &Path) -> Option<u32> {
    path.extension().filter(|it| *it == "log").and(path.file_stem()?.to_str()?.parse().ok())
}

fn rotated(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

impl Output {
    /// Copies what comes from `pipe` until all who write to it have closed it.
    pub async fn copy(&mut self, pipe: OwnedFd) -> io::Result<()> {
        let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
        // Grows with what is written at once and stays small for quiet containers.
        let mut chunk = Vec::with_capacity(512);
        loop {
            chunk.clear();
            if pipe.read_buf(&mut chunk).await? == 0 {
                return Ok(());
            }
            if chunk.len() == chunk.capacity() && chunk.capacity() < PIECE {
                chunk.reserve(PIECE);
            }
            self.write(&chunk);
        }
    }

    /// Stores `bytes`. What cannot be stored (a full disk) is lost: the container must not wait for it.
    pub fn write(&mut self, bytes: &[u8]) {
        let mut lines = Vec::with_capacity(bytes.len() + 64);
        let now = self.outputs.shared.clock.now();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            let line = if self.unfinished.is_empty() {
                line
            } else {
                self.unfinished.extend_from_slice(line);
                &self.unfinished
            };
            add_line(&mut lines, now, line, "F");
            self.unfinished.clear();
            rest = &after[1..];
        }
        self.unfinished.extend_from_slice(rest);
        if self.unfinished.len() >= LONGEST_PART {
            add_line(&mut lines, now, &self.unfinished, "P");
            self.unfinished.clear();
        }
        self.store(&lines);
    }

    /// The last bytes of the output, at most `limit` bytes and 80 lines: the message of a container that
    /// failed and left none.
    pub fn tail(&mut self, limit: usize) -> String {
        self.flush();
        let stored = stored(&self.path).unwrap_or_default();
        let stored = String::from_utf8_lossy(&stored);
        let text: Vec<&str> =
            stored.lines().rev().take(80).map(|line| split_line(line).2).collect();
        let mut tail: String = text.into_iter().rev().collect::<Vec<_>>().join("\n");
        if !tail.is_empty() {
            tail.push('\n');
        }
        let mut start = tail.len().saturating_sub(limit);
        while !tail.is_char_boundary(start) {
            start += 1;
        }
        tail.split_off(start)
    }

    fn flush(&mut self) {
        if !self.unfinished.is_empty() {
            let mut lines = Vec::new();
            add_line(&mut lines, self.outputs.shared.clock.now(), &self.unfinished, "F");
            self.unfinished.clear();
            self.store(&lines);
        }
    }

    fn store(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if let Err(error) = self.open()
            && *self.written.borrow() == 0
        {
            tracing::warn!(file = %self.path.display(), %error, "make a log");
        }
        if self.size > 0 && self.size + lines.len() as u64 > self.largest {
            // If it cannot be put aside, the file goes on growing by less than one run writes.
            if fs::rename(&self.path, rotated(&self.path)).is_ok()
                && let Ok(file) = OpenOptions::new().create(true).append(true).open(&self.path)
            {
                self.file = Some(file);
                self.size = 0;
            }
        }
        if self.file.as_mut().is_some_and(|it| it.write_all(lines).is_ok()) {
            self.size += lines.len() as u64;
        }
        self.written.send_modify(|count| *count += 1);
    }

    /// Makes the file if it is not there.
    fn open(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder)?;
        kept::note(folder.parent().unwrap_or(folder), self.labels.as_ref())?;
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
        // There has been a run, with nothing to say.
        let _ = self.open();
        self.outputs.shared.live.lock().remove(&self.path);
    }
}

fn add_line(lines: &mut Vec<u8>, now: Timestamp, text: &[u8], mark: &str) {
    // Writing to memory cannot fail.
    let _ = write!(lines, "{now:.9} {mark} ");
    lines.extend_from_slice(text);
    lines.push(b'\n');
}

/// Time, mark and text of a stored line.
fn split_line(line: &str) -> (&str, &str, &str) {
    let (time, rest) = line.split_once(' ').unwrap_or(("", line));
    let (mark, text) = rest.split_once(' ').unwrap_or(("F", rest));
    (time, mark, text)
}

/// All that is stored of a run.
pub(super) fn stored(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(rotated(path)).unwrap_or_default();
    bytes.extend(fs::read(path)?);
    Ok(bytes)
}

/// What a container wrote, of what is stored.
pub(super) fn plain(stored: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = stored.split_inclusive(|byte| *byte == b'\n').collect();
    Reader { request: Options::default(), left: u64::MAX }.text(&lines)
}

/// Sends what `request` asks for; with `changes`, goes on until the run ends.
async fn copy(
    path: &Path,
    request: Options,
    mut changes: Option<watch::Receiver<u64>>,
    to: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    if let Some(changes) = &mut changes {
        changes.borrow_and_update();
    }
    let mut pending = fs::read(rotated(path)).unwrap_or_default();
    let mut file = None;
    follow(path, &mut file, &mut pending)?;
    let mut reader = Reader { left: request.limit_bytes.unwrap_or(u64::MAX), request };
    if let Some(count) = reader.request.tail_lines {
        let start = start_of_last_lines(&pending, count);
        pending.drain(..start);
    }
    loop {
        // Only whole lines: the rest of the last one is still being written.
        let whole = pending.iter().rposition(|it| *it == b'\n').map_or(0, |end| end + 1);
        for piece in
            pending[..whole].split_inclusive(|it| *it == b'\n').collect::<Vec<_>>().chunks(256)
        {
            let text = reader.text(piece);
            if !text.is_empty() && to.send(text.into()).await.is_err() {
                return Ok(());
            }
            if reader.left == 0 {
                return Ok(());
            }
        }
        pending.drain(..whole);
        let Some(changes) = &mut changes else { return Ok(()) };
        let more = tokio::select! {
            more = changes.changed() => more.is_ok(),
            () = to.closed() => return Ok(()),
        };
        follow(path, &mut file, &mut pending)?;
        if !more && !pending.contains(&b'\n') {
            return Ok(());
        }
    }
}

/// Reads on in the file at `path`, which need not be there yet.
fn follow(path: &Path, file: &mut Option<File>, pending: &mut Vec<u8>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    if let Some(file) = file {
        file.read_to_end(pending)?;
    }
    let Ok(now) = fs::metadata(path) else { return Ok(()) };
    let before = file.as_ref().map(File::metadata).transpose()?;
    if before.is_none_or(|it| it.ino() != now.ino()) {
        // The file that was followed has been put aside: go on with its successor.
        file.insert(File::open(path)?).read_to_end(pending)?;
    }
    Ok(())
}

/// Where the last lines of stored bytes begin.
pub(super) fn start_of_last_lines(bytes: &[u8], count: u64) -> usize {
    let ends = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let mut ends =
        ends.map(|(index, _)| index + 1).skip(usize::try_from(count).unwrap_or(usize::MAX));
    if count == 0 { bytes.len() } else { ends.next().unwrap_or(0) }
}

struct Reader {
    request: Options,
    /// Bytes that may still be sent.
    left: u64,
}

impl Reader {
    /// What a reader gets of these stored lines.
    fn text(&mut self, lines: &[&[u8]]) -> Vec<u8> {
        let mut text = Vec::new();
        for line in lines {
            let mut parts = line.splitn(3, |byte| *byte == b' ');
            let (Some(time), Some(mark), Some(words)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if let Some(since) = self.request.since {
                let written =
                    std::str::from_utf8(time).ok().and_then(|it| it.parse::<Timestamp>().ok());
                if written.is_some_and(|written| written < since) {
                    continue;
                }
            }
            if self.request.timestamps {
                text.extend_from_slice(time);
                text.push(b' ');
            }
            let words = if mark == b"P" { &words[..words.len() - 1] } else { words };
            text.extend_from_slice(words);
        }
        let allowed = usize::try_from(self.left).unwrap_or(usize::MAX).min(text.len());
        text.truncate(allowed);
        self.left -= allowed as u64;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let text = str::to_owned;
        Place { namespace: text("n"), pod: text("p"), uid: text("u"), container: text("c") }
    }

    struct Folder(PathBuf, Outputs);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("weft-logs-{}", uuid::Uuid::new_v4()));
            let outputs = Outputs::open(path.clone(), Clock::start()).unwrap();
            Self(path, outputs)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    async fn read(outputs: &Outputs, request: Options) -> String {
        let mut pieces = outputs.pieces(&place(), request).unwrap();
        let mut text = Vec::new();
        while let Some(piece) = pieces.recv().await {
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn gives_the_part_that_is_asked_for() {
        let folder = Folder::new();
        let outputs = &folder.1;
        assert!(outputs.pieces(&place(), Options::default()).is_err());
        let mut output = outputs.begin(&place(), None, 0);
        let all = Options::default();
        let mut followed =
            outputs.pieces(&place(), Options { follow: true, ..all.clone() }).unwrap();
        assert_eq!(read(outputs, all.clone()).await, "");
        assert!(!outputs.folder(&place()).exists(), "nothing is made for nothing");
        output.write(b"one\ntw");
        assert_eq!(followed.recv().await.unwrap(), "one\n");
        output.write(b"o\nthree\nfo");
        assert_eq!(read(outputs, all.clone()).await, "one\ntwo\nthree\n");
        drop(output);
        for (request, text) in [
            (all.clone(), "one\ntwo\nthree\nfo\n"),
            (Options { tail_lines: Some(2), ..all.clone() }, "three\nfo\n"),
            (Options { tail_lines: Some(0), ..all.clone() }, ""),
            (Options { tail_lines: Some(9), ..all.clone() }, "one\ntwo\nthree\nfo\n"),
            (Options { limit_bytes: Some(5), ..all.clone() }, "one\nt"),
            (Options { since: Some(Timestamp::MAX), ..all.clone() }, ""),
            (Options { since: Some(Timestamp::MIN), ..all.clone() }, "one\ntwo\nthree\nfo\n"),
        ] {
            assert_eq!(read(outputs, request.clone()).await, text, "{request:?}");
        }
        let stamped = read(outputs, Options { timestamps: true, ..all.clone() }).await;
        let (time, text) = stamped.lines().next().unwrap().split_once(' ').unwrap();
        assert!(time.parse::<Timestamp>().is_ok());
        assert_eq!(text, "one");

        assert!(outputs.pieces(&place(), Options { previous: true, ..all.clone() }).is_err());
        drop(outputs.begin(&place(), None, 1));
        assert_eq!(read(outputs, all.clone()).await, "");
        assert_eq!(read(outputs, Options { previous: true, ..all }).await, "one\ntwo\nthree\nfo\n");
    }

    #[tokio::test]
    async fn follows_to_the_end_and_through_rotation() {
        let folder = Folder::new();
        let outputs = &folder.1;
        let mut output = outputs.begin(&place(), None, 0);
        output.largest = 1000;
        output.write(b"first\n");
        let follow = Options { follow: true, ..Options::default() };
        let mut pieces = outputs.pieces(&place(), follow).unwrap();
        assert_eq!(pieces.recv().await.unwrap(), "first\n");
        let mut expected = String::new();
        let mut found = String::new();
        for number in 0..200 {
            let line = format!("line {number}\n");
            output.write(line.as_bytes());
            expected += &line;
            while !found.ends_with(&line) {
                found += std::str::from_utf8(&pieces.recv().await.unwrap()).unwrap();
            }
        }
        output.write(b"unfinished");
        drop(output);
        while let Some(piece) = pieces.recv().await {
            found += std::str::from_utf8(&piece).unwrap();
        }
        assert_eq!(found, expected + "unfinished\n");
        let size: u64 = runs(&outputs.folder(&place()))
            .iter()
            .flat_map(|run| [fs::metadata(run), fs::metadata(rotated(run))])
            .map(|file| file.unwrap().len())
            .sum();
        assert!(size <= 2100, "{size}");
    }

    #[tokio::test]
    async fn long_lines_come_out_whole() {
        let folder = Folder::new();
        let mut output = folder.1.begin(&place(), None, 0);
        let long = "x".repeat(3 * LONGEST_PART + 7);
        for part in long.as_bytes().chunks(1000) {
            output.write(part);
        }
        output.write(b"\nnext\n");
        assert!(output.unfinished.capacity() < 2 * LONGEST_PART + 2000);
        assert_eq!(read(&folder.1, Options::default()).await, format!("{long}\nnext\n"));
        assert_eq!(output.tail(7), "x\nnext\n");
    }
}
