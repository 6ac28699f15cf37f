use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::watch::kinds::Kinds;
use crate::watch::scan::Found;

const NEVER: Duration = Duration::from_hours(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// A watched directory, two levels below one of its own.
struct Watched {
    folder: tempfile::TempDir,
    directories: Directories,
    news: Receiver<News>,
}

impl Watched {
    fn new(rescan: Duration, prepare: impl FnOnce(&Path)) -> Self {
        Self::of(false, rescan, prepare)
    }

    fn of(recursive: bool, rescan: Duration, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = folder.path().join("above/run");
        fs::create_dir_all(&run).expect("created");
        prepare(&run);
        let (sender, news) = channel();
        let search = Search::new(recursive, Kinds::new(None, false).expect("a glob"));
        let tell = move |news| drop(sender.send(news));
        let directories = listen(vec![run], search, rescan, tell).expect("a thread");
        Self { folder, directories, news }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("above/run").join(name)
    }

    fn found(&self) -> Found {
        loop {
            if let News::Found(found, _) = self.news.recv_timeout(PATIENCE).expect("told in time") {
                return found;
            }
        }
    }

    /// The next checkpoint that is told.
    fn next(&self) -> String {
        self.found().path.file_name().expect("a name").to_string_lossy().into_owned()
    }

    /// Renames a file into place, or the first of its folders that is not there, whole: what is made bit by bit may be told twice.
    fn put(&self, name: &str) {
        let aside = self.folder.path().join("aside");
        fs::create_dir_all(aside.join(name).parent().expect("a parent")).expect("created");
        fs::write(aside.join(name), name).expect("written");
        let is_new = |part: &&Path| !self.path("").join(part).exists();
        let new = Path::new(name).ancestors().take_while(is_new).last().unwrap_or(Path::new(name));
        fs::rename(aside.join(new), self.path("").join(new)).expect("renamed");
        fs::remove_dir_all(aside).expect("removed");
    }

    /// The next notice with these words.
    fn notice(&self, words: &str) {
        while !matches!(self.news.recv_timeout(PATIENCE), Ok(News::Notice(text)) if text.contains(words)) {}
    }

    fn is_quiet(&self) -> bool {
        std::thread::sleep(Duration::from_millis(300));
        !self.news.try_iter().any(|news| matches!(news, News::Found(..)))
    }
}

#[test]
fn a_directory_with_a_configuration_is_a_run_before_its_first_checkpoint() {
    let write = |folder: &Path| {
        fs::create_dir_all(folder).expect("created");
        fs::write(folder.join(FILE_NAME), "").expect("written");
    };
    let watched = Watched::of(true, NEVER, |run| [run, &run.join("early")].into_iter().for_each(write));
    let told = || loop {
        if let News::Run(folder) = watched.news.recv_timeout(PATIENCE).expect("told in time") {
            return folder;
        }
    };
    assert_eq!(told(), watched.path("early"));
    write(&watched.path("late"));
    assert_eq!(told(), watched.path("late"));
}

#[test]
fn a_link_is_told_again_when_its_target_changes() {
    let watched = Watched::new(Duration::from_millis(50), |run| {
        fs::write(run.join("../target"), "one").expect("written");
        symlink("../target", run.join("a.onnx")).expect("linked");
    });
    assert_eq!(watched.next(), "a.onnx");
    assert!(watched.is_quiet());
    fs::write(watched.path("../new"), "another").expect("written");
    fs::rename(watched.path("../new"), watched.path("../target")).expect("renamed");
    assert_eq!(watched.next(), "a.onnx");
    assert!(watched.is_quiet());
}

#[test]
fn a_kubernetes_volume_is_told_at_once_when_it_is_swapped() {
    let watched = Watched::new(NEVER, |run| {
        fs::create_dir(run.join("..1")).expect("created");
        fs::write(run.join("..1/a.onnx"), "one").expect("written");
        symlink("..1", run.join("..data")).expect("linked");
        symlink("..data/a.onnx", run.join("a.onnx")).expect("linked");
    });
    assert_eq!(watched.next(), "a.onnx");
    fs::create_dir(watched.path("..2")).expect("created");
    fs::write(watched.path("..2/a.onnx"), "two").expect("written");
    symlink("..2", watched.path("..data_tmp")).expect("linked");
    fs::rename(watched.path("..data_tmp"), watched.path("..data")).expect("swapped");
    fs::remove_dir_all(watched.path("..1")).expect("removed");
    assert_eq!(watched.next(), "a.onnx");
    assert!(watched.is_quiet());
}

#[test]
fn what_the_daemon_found_gone_is_told_when_a_parent_is_renamed_back() {
    let watched = Watched::new(NEVER, |run| {
        for name in ["a.onnx", "b.onnx"] {
            fs::write(run.join(name), name).expect("written");
        }
    });
    let (a, b) = (watched.path("a.onnx"), watched.path("b.onnx"));
    let first = [watched.next(), watched.next()];
    assert_ne!(first[0], first[1]);
    let (above, kept) = (watched.folder.path().join("above"), watched.folder.path().join("kept"));
    fs::rename(&above, &kept).expect("renamed");
    watched.notice("waiting for it to come back");
    assert!(watched.directories.version(&b).is_none());
    fs::rename(&kept, &above).expect("renamed back");
    assert_eq!(watched.next(), "b.onnx");
    watched.notice("is there again");
    assert!(watched.is_quiet() && watched.directories.version(&a).is_some());

    // Another directory takes its place, and is watched from then on.
    fs::rename(&above, &kept).expect("renamed");
    let new = watched.folder.path().join("new");
    fs::create_dir_all(new.join("run")).expect("created");
    fs::write(new.join("run/c.onnx"), "c").expect("written");
    fs::rename(&new, &above).expect("renamed");
    assert_eq!(watched.next(), "c.onnx");
    watched.put("d.onnx");
    assert_eq!(watched.next(), "d.onnx");
    fs::write(kept.join("run/e.onnx"), "elsewhere").expect("written");
    assert!(watched.is_quiet());
}

#[test]
fn a_file_in_the_place_of_a_directory_is_waited_out() {
    let watched = Watched::new(NEVER, |run| fs::write(run.join("a.onnx"), "a").expect("written"));
    assert_eq!(watched.next(), "a.onnx");
    let (run, kept) = (watched.path("").components().collect::<PathBuf>(), watched.folder.path().join("kept"));
    fs::rename(&run, &kept).expect("renamed");
    fs::write(&run, "a file").expect("written");
    let mut said: Vec<String> = Vec::new();
    let mut hear = |words: &str| {
        while said.last().is_none_or(|text| !text.contains(words)) {
            if let News::Notice(text) = watched.news.recv_timeout(PATIENCE).expect("told in time") {
                said.push(text);
            }
        }
    };
    hear("waiting for it to come back");
    fs::remove_file(&run).expect("removed");
    fs::rename(&kept, &run).expect("renamed back");
    hear("is there again");
    assert!(!said.iter().any(|text| text.contains("inotify")), "{said:?}");
    fs::write(watched.path("b.onnx"), "b").expect("written");
    assert_eq!(watched.next(), "b.onnx");
}

#[test]
fn numbered_folders_become_runs_when_one_holds_a_second_checkpoint() {
    let watched = Watched::of(true, NEVER, |_| ());
    for name in ["100/a.onnx", "200/a.onnx"] {
        watched.put(name);
        assert_eq!(watched.found().run, watched.path("").components().as_path());
    }
    watched.put("200/b.onnx");
    watched.notice("are taken for runs");
    let mut found: Vec<_> = (0..3).map(|_| watched.found()).map(|found| (found.run, found.path)).collect();
    found.sort();
    let expected = [("100", "100/a.onnx"), ("200", "200/a.onnx"), ("200", "200/b.onnx")];
    assert_eq!(found, expected.map(|(run, path)| (watched.path(run), watched.path(path))));
    // A run of seeds is one from its first checkpoint on.
    watched.put("seeds/0/step_5.onnx");
    assert_eq!(watched.found().run, watched.path("seeds/0"));
    watched.put("tmp-checkpoint-10/model.onnx");
    assert!(watched.is_quiet());
    fs::rename(watched.path("tmp-checkpoint-10"), watched.path("checkpoint-10")).expect("renamed");
    assert_eq!(watched.found().path, watched.path("checkpoint-10/model.onnx"));
    assert!(watched.is_quiet());
}

#[test]
fn networks_one_folder_below_their_steps_are_told_when_they_come() {
    let watched = Watched::of(true, NEVER, |_| ());
    for (first, second) in [("checkpoint-5", "checkpoint-6"), ("5", "6")] {
        // One that is made bit by bit, one that comes whole.
        for folder in [first.to_owned(), format!("{first}/onnx")] {
            fs::create_dir(watched.path(&folder)).expect("created");
            assert!(watched.is_quiet());
        }
        watched.put(&format!("{first}/onnx/model.onnx"));
        let elsewhere = watched.folder.path().join("elsewhere");
        fs::create_dir_all(elsewhere.join("onnx")).expect("created");
        fs::write(elsewhere.join("onnx/model.onnx"), "whole").expect("written");
        assert_eq!(watched.found().path, watched.path(&format!("{first}/onnx/model.onnx")));
        fs::rename(elsewhere, watched.path(second)).expect("renamed");
        let found = watched.found();
        let path = watched.path(&format!("{second}/onnx/model.onnx"));
        assert_eq!((found.run, &found.path), (watched.path("").components().collect(), &path));
        fs::write(&path, "another content").expect("written");
        assert_eq!(watched.found().path, path);
        assert!(watched.is_quiet());
    }
}
