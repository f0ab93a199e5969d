//! What flags make of recipes and configs, as dry runs print it.

mod common;

use std::process::Command;

use common::{failure, mvd, succeed};

fn dry(command: &[&str], flags: &[&str]) -> Command {
    let mut dry = mvd();
    dry.args(command).args(["--dry-run", "--batch", "1"]).args(flags);
    dry
}

/// The config that a dry run prints.
fn config(text: &str) -> toml::Table {
    let lines = text.lines().skip_while(|line| !line.contains(" = "));
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("one step of ")).collect();
    lines.join("\n").parse().unwrap_or_else(|e| panic!("{e}: {text}"))
}

const TINY: [&str; 3] = ["distill", "--recipe", "mvd-tiny"];

#[test]
fn a_teacher_is_left_out_by_weight_alone() {
    for (flags, expected) in [
        (&["--video-teacher", "v.pth"][..], "--image-teacher: expected its weights (`mvd pretrain image` trains them)"),
        (&["--image-teacher", "i.pth"], "--video-teacher: expected its weights"),
        (&["--image-teacher", "i.pth", "--video-weight", "0", "--image-weight", "0"], "a weight of 0 leaves the image"),
        (&["--video-weight", "0", "--video-teacher-size", "32,1,2"], "--video-teacher-size: a weight of 0 leaves"),
        (&["--image-weight", "0", "--image-teacher-patch", "8"], "--image-teacher-patch: a weight of 0 leaves"),
    ] {
        let mut command = mvd();
        let text = failure(command.args(["distill", "--data", "x", "--out", "/no/such/run"]).args(flags));
        assert!(text.contains(expected), "{flags:?}: {text}");
    }
    let one = config(&succeed(&mut dry(&TINY, &["--image-weight", "0"])));
    assert!(!one.contains_key("image_teacher") && one.contains_key("video_teacher"));
    // A config without a teacher has none to give flags to.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("one.toml");
    std::fs::write(&file, toml::to_string(&one).unwrap()).unwrap();
    let of_file = ["distill", "--config", file.to_str().unwrap()];
    for flags in [["--image-teacher", "i.pth"], ["--image-weight", "2"], ["--image-teacher-size", "32,1,2"]] {
        let text = failure(&mut dry(&of_file, &flags));
        assert!(text.contains("the config has no image teacher; add a table [image_teacher]"), "{flags:?}: {text}");
    }
    succeed(&mut dry(&of_file, &["--image-weight", "0"]));
}

#[test]
fn decoders_as_wide_as_the_student_follow_it() {
    let decoder = |recipe: &str, flags: &[&str]| {
        let config = config(&succeed(&mut dry(&["distill", "--recipe", recipe], flags)));
        let of = |key: &str| config["decoder"][key].as_integer().unwrap();
        [of("dim"), of("depth"), of("heads")]
    };
    assert_eq!(decoder("mvd-small-from-base-k400", &["--student", "base"]), [768, 2, 12]);
    assert_eq!(decoder("mvd-small-from-base-k400", &["--student", "base", "--decoder", "64,1,2"]), [64, 1, 2]);
    // The larger models' have a width of their own.
    assert_eq!(decoder("mvd-large-from-large-k400", &["--student", "small"]), [512, 4, 8]);
}

#[test]
fn passes_steps_and_warm_up_agree() {
    let tune = ["finetune", "--recipe", "mvd-base-finetune-k400", "--size", "32,1,2"];
    let optim = |text: &str| config(text)["optim"].as_table().unwrap().clone();
    // The recipe's 5 passes of 75, in proportion.
    let text = succeed(&mut dry(&tune, &["--epochs", "15"]));
    assert!(text.contains("warm-up: 1.000 passes, as 5 of 75; --warmup-epochs sets another"), "{text}");
    assert_eq!((optim(&text)["epochs"].as_integer(), optim(&text)["warmup_epochs"].as_float()), (Some(15), Some(1.0)));
    let text = succeed(&mut dry(&tune, &["--epochs", "15", "--warmup-epochs", "3"]));
    assert_eq!(optim(&text)["warmup_epochs"].as_float(), Some(3.0));
    let text = succeed(&mut dry(&tune, &["--epochs", "100"]));
    assert_eq!(optim(&text)["warmup_epochs"].as_float(), Some(5.0));
    let text = failure(&mut dry(&tune, &["--epochs", "3", "--warmup-epochs", "5"]));
    assert!(text.contains("--warmup-epochs: expected fewer than --epochs, 3, got 5"), "{text}");
    let text = failure(&mut dry(&tune, &["--epochs", "3", "--steps", "5"]));
    assert!(text.contains("--epochs") && text.contains("cannot be used with") && text.contains("--steps"), "{text}");

    // A config's steps give way to --epochs; what it switches on can be switched off.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("on.toml");
    let text = succeed(&mut dry(&TINY, &["--steps", "7", "--recompute", "--norm-feature"]));
    let on = config(&text);
    std::fs::write(&file, toml::to_string(&on).unwrap()).unwrap();
    let of_file = ["distill", "--config", file.to_str().unwrap()];
    let kept = config(&succeed(&mut dry(&of_file, &[])));
    assert_eq!(kept["optim"]["steps"].as_integer(), Some(7));
    assert_eq!((kept["optim"]["recompute"].as_bool(), kept["norm_feature"].as_bool()), (Some(true), Some(true)));
    let off = config(&succeed(&mut dry(&of_file, &["--epochs", "3", "--no-recompute", "--no-norm-feature"])));
    assert_eq!((off["optim"]["steps"].as_integer(), off["optim"]["epochs"].as_integer()), (Some(0), Some(3)));
    assert_eq!((off["optim"]["recompute"].as_bool(), off["norm_feature"].as_bool()), (Some(false), Some(false)));
}

#[test]
fn a_step_counts_videos_and_says_their_clips() {
    let tune = ["finetune", "--recipe", "mvd-base-finetune-k400", "--size", "32,1,2"];
    let text = succeed(&mut dry(&tune, &["--batch", "3", "--accumulate", "4"]));
    assert!(text.contains("one step of 12 videos, 24 clips, micro-batches of 3:"), "{text}");
    let text = succeed(mvd().args(["finetune", "--dry-run", "--size", "32,1,2"]));
    assert!(text.contains("one step of 4 videos, 8 clips, micro-batches of 4:"), "{text}");
    let text = succeed(mvd().args(["recipes", "mvd-base-finetune-k400"]));
    assert!(text.contains("# batch: 384 videos, 768 clips a step;"), "{text}");
    let text = failure(mvd().arg("adapters").env("VK_ICD_FILENAMES", "/dev/null").env("VK_DRIVER_FILES", "/dev/null"));
    assert!(text.contains("no adapter"), "{text}");
}

#[test]
fn numbers_as_labels_need_a_number_of_classes() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("ids.txt");
    std::fs::write(&list, "a.mp4 0\nb.mp4 4\n").unwrap();
    let data = ["--size", "32,1,2", "--data", list.to_str().unwrap()];
    let text = failure(dry(&["finetune"], &data).args(["--frames", "4"]));
    assert!(text.contains("ids.txt: its labels are 0 to 4: say --classes 5 (or more)"), "{text}");
    let counted = config(&succeed(dry(&["finetune"], &data).args(["--classes", "5"])));
    assert_eq!(counted["classes"].as_integer(), Some(5));
    let text = failure(dry(&["finetune"], &data).args(["--classes", "3"]));
    assert!(text.contains("labels are 0 to 4, there are 3 classes: say --classes 5"), "{text}");
    let text = succeed(&mut dry(&["finetune", "--recipe", "mvd-small-finetune-k400"], &data));
    assert!(text.contains("classes: 400, of the recipe; the labels are 0 to 4"), "{text}");
    let text = failure(&mut dry(&["finetune"], &["--size", "32,1,2", "--heads", "2"]));
    assert!(text.contains("--heads") && text.contains("cannot be used with"), "{text}");
    assert!(failure(&mut dry(&["finetune"], &["--heads", "2"])).contains("--heads: expected --init"));
}

#[test]
fn teachers_are_what_their_files_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let init = |kind: &str, name: &str, patch: &str| {
        succeed(mvd().args(["init", kind, &path(name), "--size", "32,1,2", "--patch", patch]));
    };
    init("image", "image", "8");
    init("video", "video", "8");
    init("image", "image16", "16");
    let (image, video) = (path("image"), path("video"));
    let plan = |image: &str, video: &str, more: &[&str]| {
        let mut plan = dry(&["distill", "--input-size", "32", "--frames", "4", "--student", "32,1,2"], more);
        plan.args(["--image-teacher", image, "--video-teacher", video]);
        plan
    };
    let text = failure(&mut plan(&image, &video, &[]));
    assert!(text.contains("give all three: --image-teacher-size 32,1,HEADS"), "{text}");
    std::fs::write(dir.path().join("config.json"), r#"{"hidden_size": 32, "num_attention_heads": 2}"#).unwrap();
    let text = succeed(&mut plan(&image, &video, &[]));
    for line in ["image teacher: 32,1,2, as ", "video teacher: 32,1,2, as ", "patch: 8, as the teachers' files are"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let planned = config(&text[text.find("loss = ").unwrap()..]);
    assert_eq!(planned["image_teacher"]["vit"]["dim"].as_integer(), Some(32));
    assert_eq!(
        (planned["data"]["patch"].as_integer(), planned["video_teacher"]["patch"].as_integer()),
        (Some(8), Some(8))
    );
    // What flags or a recipe say otherwise is refused, in one line with both.
    let text = failure(&mut plan(&image, &video, &["--video-teacher-size", "64,1,2"]));
    assert!(text.contains("--video-teacher-size says 64,1,2, the file has 32,1,2; give 32,1,2"), "{text}");
    let text = failure(&mut plan(&image, &video, &["--recipe", "mvd-tiny", "--patch", "8"]));
    assert!(text.contains("the recipe or config says ") && text.contains("the file has 32,1,2"), "{text}");
    let text = failure(&mut plan(&image, &video, &["--patch", "16"]));
    assert!(text.contains("give --patch 8"), "{text}");
    let text = failure(&mut plan(&path("image16"), &video, &[]));
    assert!(text.contains("--patch: expected the student's") && text.contains("image 16, video 8"), "{text}");
    let text = succeed(&mut plan(&path("image16"), &video, &["--patch", "8"]));
    assert!(text.contains("image teacher: patch 16, as ") && text.contains("frames of 64 pixels"), "{text}");
    // A dry run opens what is here, and downloads nothing.
    std::fs::write(dir.path().join("pointer"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        .unwrap();
    std::fs::write(dir.path().join("cut"), &std::fs::read(&video).unwrap()[..5000]).unwrap();
    for (file, expected) in
        [(path("pointer"), "LFS"), (path("cut"), "cut"), (path("none"), "none"), (image.clone(), "--video-teacher")]
    {
        let text = failure(&mut plan(&image, &file, &[]));
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = succeed(plan(&image, "hf:no/such", &["--video-teacher-size", "32,1,2"]).env("HF_HOME", dir.path()));
    assert!(
        text.contains("hf:no/such is not in the cache, and a dry run downloads nothing; planned as 32,1,2"),
        "{text}"
    );
}
