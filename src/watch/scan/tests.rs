use super::*;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("created");
    fs::write(path, text).expect("written");
}

fn names(root: &Path, recursive: bool) -> Vec<(String, String)> {
    let search = Search::new(recursive, Kinds::new(None, false).expect("a glob"));
    let relative = |path: &Path| path.strip_prefix(root).expect("inside").to_string_lossy().into_owned();
    let found = checkpoints(&search, root, &mut |_| ()).expect("listed");
    found.iter().map(|found| (relative(&found.run), relative(&found.path))).collect()
}

#[test]
fn checkpoints_are_found_two_levels_deep_and_put_in_training_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in
        ["step_10.onnx", "step_9.onnx", "checkpoint-11/model.onnx", "other/model.onnx", ".step_1.onnx", "notes.txt"]
    {
        write(&folder.path().join(name), "x");
    }
    let found: Vec<_> = names(folder.path(), false).into_iter().map(|(_, path)| path).collect();
    assert_eq!(found, ["step_9.onnx", "step_10.onnx", "checkpoint-11/model.onnx"]);
}

#[test]
fn a_walk_tells_checkpoints_in_training_order_whatever_the_file_system_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let steps = 1..=40;
    for step in steps.clone() {
        // Neither names nor the times of writing are in this order.
        write(&folder.path().join(format!("run/step_{}.onnx", (step * 7) % 41)), "x");
    }
    let mut search = Search::new(true, Kinds::new(None, false).expect("a glob"));
    let expected: Vec<_> = steps.map(|step| folder.path().join(format!("run/step_{step}.onnx"))).collect();
    let mut found = Vec::new();
    let mut meet = |met| {
        if let Met::Checkpoint(checkpoint) = met {
            found.push(checkpoint.path);
        }
    };
    search.walk(folder.path(), &mut meet).expect("listed");
    search.walk_new(folder.path(), &folder.path().join("run"), &mut meet);
    assert_eq!(found, [&expected[..], &expected].concat());
}

#[test]
fn recursively_every_other_directory_is_a_run_and_loops_of_links_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["a/step_2.onnx", "a/epoch_1/model.onnx", "b/c/x.onnx"] {
        write(&folder.path().join(name), "x");
    }
    std::os::unix::fs::symlink(folder.path(), folder.path().join("b/loop")).expect("linked");
    write(&folder.path().join("a/checkpoint-5/onnx/model.onnx"), "x");
    write(&folder.path().join("a/checkpoint-5/other/model.onnx"), "x");
    write(&folder.path().join("a/epoch_2/step_9/model.onnx"), "x");
    let found = names(folder.path(), true);
    let expected = [
        ("a", "a/epoch_1/model.onnx"),
        ("a", "a/step_2.onnx"),
        ("a", "a/checkpoint-5/onnx/model.onnx"),
        ("a", "a/epoch_2/step_9/model.onnx"),
        ("b/c", "b/c/x.onnx"),
    ];
    assert_eq!(found, expected.map(|(run, path)| (run.to_owned(), path.to_owned())));
}

#[test]
fn weights_beside_a_file_belong_to_its_version() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (model, weights) = (folder.path().join("a.onnx"), folder.path().join("a.onnx.data"));
    write(&model, "x");
    let alone = version(&model).expect("there");
    write(&weights, "y");
    assert_ne!(version(&model).expect("there").fingerprint, alone.fingerprint);
    let search = Search::new(false, Kinds::new(None, false).expect("a glob"));
    let mut met = Vec::new();
    search.meet_file(folder.path(), weights, &mut |one| met.push(one));
    assert!(matches!(&met[..], [Met::Checkpoint(found)] if found.path == model), "{met:?}");
    assert!(Kinds::new(Some("["), false).is_err());
}
