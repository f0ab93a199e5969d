//! Hugging Face repositories by name: what is chosen in them, the cache that other programs share, tokens, teachers of recipes.

mod common;
#[path = "common/hub.rs"]
mod hub;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{failure, mvd, succeed};
use hub::{COMMIT, Files, Server, Site, client, teacher};
use mvd::weights::{self, Tensors};

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");

/// The same in two shards with their index.
fn sharded(dir: &Path) -> Files {
    teacher(dir, "0");
    let all = weights::load(dir.join("teacher-0.safetensors")).unwrap();
    let mut files = BTreeMap::new();
    let mut map = serde_json::Map::new();
    for shard in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let part: Tensors = all
            .iter()
            .enumerate()
            .filter(|(i, _)| i % 2 == shard)
            .map(|(_, (n, t))| (n.to_owned(), t.clone()))
            .collect();
        map.extend(part.iter().map(|(tensor, _)| (tensor.to_owned(), name.clone().into())));
        weights::save(dir.join(&name), &part, &BTreeMap::new()).unwrap();
        files.insert(name.clone(), std::fs::read(dir.join(&name)).unwrap());
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    files.insert("model.safetensors.index.json".to_owned(), index.to_string().into_bytes());
    files.insert("config.json".to_owned(), br#"{"num_attention_heads": 4, "image_size": 32}"#.to_vec());
    files.insert("README.md".to_owned(), b"a model".to_vec());
    files
}

#[test]
fn a_sharded_repository_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let repositories = BTreeMap::from([("owner/name".to_owned(), sharded(dir))]);
    let server = Site { repositories, ..Site::default() }.serve();
    let report = succeed(&mut server.run(&home, &["inspect", "hf:owner/name"]));
    assert!(report.contains("MAE: dim 32, depth 2") && report.contains("safetensors in 2 files"), "{report}");
    assert!(report.contains("4 (config.json, num_attention_heads)"), "{report}");
    let seen = server.seen();
    let bodies = seen.iter().filter(|line| line.starts_with("GET /cdn/")).count();
    assert_eq!(bodies, 2, "{seen:?}");
    assert!(seen.iter().all(|line| !line.contains("README")), "{seen:?}");

    assert_eq!(report, succeed(&mut server.run(&home, &["inspect", "hf:owner/name"])));
    assert_eq!(server.seen(), Vec::<String>::new(), "all of it is in the cache");
    let written = dir.join("written");
    drop(server);
    succeed(client("http://127.0.0.1:1", &home).args(["convert", "hf:owner/name"]).arg(&written).args(["--to", "hf"]));
    let config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(written.join("config.json")).unwrap()).unwrap();
    assert_eq!((&config["num_attention_heads"], &config["image_size"]), (&4.into(), &32.into()));
    assert_eq!(config["architectures"], serde_json::json!(["ViTMAEModel"]), "an encoder alone");
    let got = weights::load(&written).unwrap();
    let expected = weights::load(dir.join("teacher-0.safetensors")).unwrap();
    assert!(expected.iter().all(|(name, tensor)| got.get(name) == Some(tensor)));
    // The cache is laid out as other programs expect it.
    let repository = home.join("hub/models--owner--name");
    assert_eq!(std::fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    assert!(repository.join("snapshots").join(COMMIT).join("config.json").is_file());
}

#[test]
fn the_cache_lies_where_other_programs_look() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = Site { token: Some("secret"), ..Site::of([("model.safetensors", teacher(dir, "0"))]) }.serve();
    let at = |place: &str| dir.join(place).join("models--owner--name/snapshots").join(COMMIT).join("model.safetensors");
    for (key, value, place) in [
        ("HF_HOME", "home", "home/hub"),
        ("XDG_CACHE_HOME", "caches", "caches/huggingface/hub"),
        ("HF_HUB_CACHE", "hub", "hub"),
        ("HUGGINGFACE_HUB_CACHE", "old", "old"),
    ] {
        let mut command = server.run(dir, &["inspect", "hf:owner/name"]);
        // The token that `hf auth login` keeps, at its own place where nothing else is said.
        std::fs::write(dir.join("kept"), "secret\n").unwrap();
        command.env_remove("HF_HOME").env("HF_TOKEN_PATH", dir.join("kept")).env(key, dir.join(value));
        succeed(&mut command);
        assert!(at(place).is_file(), "{key}");
    }
    std::fs::create_dir(dir.join("login")).unwrap();
    std::fs::write(dir.join("login/token"), "secret\n").unwrap();
    succeed(&mut server.run(&dir.join("login"), &["inspect", "hf:owner/name"]));
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let files = [("deep/a.safetensors", teacher(dir, "0")), ("b.pth", vec![0; 9])];
    let server = Site { token: Some("secret"), ..Site::of(files) }.serve();
    let inspect = |name: &str| server.run(&home, &["inspect", name]);
    let unknown = failure(&mut inspect("hf:owner/other"));
    assert!(unknown.contains("hf:owner/other: ") && unknown.contains("no such repository at revision main (404)"));
    let closed = failure(&mut inspect("hf:owner/name"));
    assert!(closed.contains("hf:owner/name: ") && closed.contains("(401)") && closed.contains("HF_TOKEN"), "{closed}");
    let wrong = failure(inspect("hf:owner/name").env("HF_TOKEN", "guess"));
    assert!(wrong.contains("(401)") && !wrong.contains("guess"), "{wrong}");
    let with_token = |name: &str| {
        let mut command = inspect(name);
        command.env("HF_TOKEN", "secret");
        command
    };
    let several = failure(&mut with_token("hf:owner/name"));
    assert!(several.contains("got b.pth, deep/a.safetensors; name one: hf:owner/name/FILE"), "{several}");
    let absent = failure(&mut with_token("hf:owner/name/c.pth"));
    assert!(
        absent.contains("hf:owner/name: c.pth: no such file; its weight files: b.pth, deep/a.safetensors"),
        "{absent}"
    );
    let revision = failure(&mut with_token("hf:owner/name@v2/b.pth"));
    assert!(revision.contains("has no revision v2 of it (404)"), "{revision}");
    assert!(succeed(&mut with_token("hf:owner/name/deep/a.safetensors")).contains("MAE: dim 32"));
    let garbage = failure(&mut with_token("hf:owner/name/b.pth"));
    assert!(garbage.contains("b.pth") && garbage.contains("not a usable weight file"), "{garbage}");
    let form = failure(&mut inspect("hf:owner"));
    assert!(form.contains("expected hf:owner/name"), "{form}");
    let server = Site { gated: true, ..Site::of([("b.pth", vec![0; 9])]) }.serve();
    let gated = failure(server.run(&home, &["inspect", "hf:owner/name"]).env("HF_HOME", dir.join("empty")));
    for part in ["keeps it gated (403): Access to owner/name is restricted", "ask for access on its page", "HF_TOKEN"] {
        assert!(gated.contains(part), "{part}: {gated}");
    }
}

#[test]
fn a_server_cannot_write_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    let site = || Site::of([("model.safetensors", teacher(dir, "0"))]);
    let inspect = |site: Site| failure(&mut site.serve().run(&home, &["inspect", "hf:owner/name"]));
    let text = inspect(Site { etag: Some("../../../../out"), ..site() });
    assert!(text.contains("an unusable ETag") && !home.join("hub/models--owner--name/blobs").exists(), "{text}");
    let text = inspect(Site { commit: Some("../../out"), ..site() });
    assert!(text.contains("an unusable commit, \"../../out\"") && !home.join("hub").exists(), "{text}");
    let index = br#"{"weight_map": {"a": "../../../../../out"}}"#.to_vec();
    let text = inspect(Site::of([("model.safetensors.index.json", index)]));
    assert!(text.contains("expected shards beside it, got ../../../../../out"), "{text}");
}

/// The model of a reference, of 2 blocks of 32 with 2 heads, patches of 4 and frames of 16.
fn reference(name: &str) -> Tensors {
    let all = weights::load(format!("{ASSETS}/reference/{name}.safetensors")).unwrap();
    all.into_iter().filter_map(|(name, tensor)| Some((name.strip_prefix("model.")?.to_owned(), tensor))).collect()
}

/// The repositories that a recipe names, of small models: timm's encoder under MAE's names with timm's own config, and VideoMAE's as
/// `transformers` has it, with its decoder.
fn published(dir: &Path) -> BTreeMap<String, Files> {
    let file = |name: &str| dir.join(name);
    let mae =
        reference("mae").into_iter().filter(|(name, _)| !name.starts_with("decoder") && name != "mask_token").collect();
    weights::save(file("mae.safetensors"), &mae, &BTreeMap::new()).unwrap();
    weights::save(file("videomae.safetensors"), &reference("videomae"), &BTreeMap::new()).unwrap();
    let mut convert = mvd();
    convert.arg("convert").arg(file("videomae.safetensors")).arg(file("hf")).args(["--to", "hf", "--heads", "2"]);
    succeed(convert.args(["--decoder-heads", "2", "--frames", "4", "--input-size", "16"]));
    let theirs = weights::load(file("hf")).unwrap();
    assert!(theirs.get("encoder_to_decoder.weight").is_some() && theirs.get("decoder.blocks.0.norm1.weight").is_some());
    let timm =
        br#"{"architecture": "vit_base_patch16_224", "num_classes": 0, "num_features": 32, "global_pool": "token"}"#;
    let files = |weights: PathBuf, config: Vec<u8>| {
        Files::from([
            ("README.md".to_owned(), b"a model".to_vec()),
            ("config.json".to_owned(), config),
            ("model.safetensors".to_owned(), std::fs::read(weights).unwrap()),
            ("pytorch_model.bin".to_owned(), b"the same for others".to_vec()),
        ])
    };
    let config = std::fs::read(file("hf/config.json")).unwrap();
    BTreeMap::from([
        ("timm/vit_base_patch16_224.mae".to_owned(), files(file("mae.safetensors"), timm.to_vec())),
        ("MCG-NJU/videomae-base".to_owned(), files(file("hf/model.safetensors"), config)),
    ])
}

/// What `mvd recipes` prints of a recipe, of models as small as the published ones' stand-ins.
fn reduced(recipe: &str) -> toml::Table {
    let mut config: toml::Table = succeed(mvd().args(["recipes", recipe])).parse().unwrap();
    let mut set = |path: &[&str], value: i64| {
        let (last, tables) = path.split_last().unwrap();
        let table = tables.iter().fold(&mut config, |table, key| table[*key].as_table_mut().unwrap());
        assert!(table.insert((*last).to_owned(), value.into()).is_some(), "{path:?}");
    };
    for (key, value) in [("frames", 4), ("stride", 3), ("input_size", 16), ("patch", 4)] {
        set(&["data", key], value);
    }
    for (key, value) in [("dim", 32), ("depth", 2), ("heads", 2)] {
        set(&["student", key], value);
        set(&["image_teacher", "vit", key], value);
        set(&["video_teacher", "vit", key], value);
    }
    for (key, value) in [("dim", 16), ("depth", 1), ("heads", 1)] {
        set(&["decoder", key], value);
    }
    for teacher in ["image_teacher", "video_teacher"] {
        set(&[teacher, "size"], 16);
        set(&[teacher, "patch"], 4);
    }
    set(&["optim", "batch"], 2);
    config
}

fn distill(server: &Server, home: &Path, args: &[&str], dir: &Path, out: &str) -> std::process::Command {
    let mut distill = server.run(home, &["distill", "--steps", "1", "--data"]);
    distill.arg(dir.join("list.txt")).arg("--out").arg(dir.join(out)).args(args);
    distill
}

#[test]
fn a_recipes_teachers_are_downloaded_and_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    std::fs::write(dir.join("list.txt"), format!("{ASSETS}/clips/high_bframes.mp4 0\n").repeat(2)).unwrap();
    std::fs::write(dir.join("small.toml"), toml::to_string(&reduced("mvd-small-from-base-k400")).unwrap()).unwrap();
    let server = Site { repositories: published(dir), ..Site::default() }.serve();
    let config = dir.join("small.toml").display().to_string();
    let text = succeed(&mut distill(&server, &home, &["--config", &config], dir, "run"));
    let file = |repository: &str| format!("hf:{repository}@{COMMIT}/model.safetensors");
    let (image, video) = (file("timm/vit_base_patch16_224.mae"), file("MCG-NJU/videomae-base"));
    for part in [&format!("image teacher {image}"), &format!("video teacher {video}"), "student: "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(server.ranges().len(), 2, "one file of each");
    // Pinned to the commit and the bytes: what the name stands for may change.
    let pinned: toml::Table = std::fs::read_to_string(dir.join("run/config.toml")).unwrap().parse().unwrap();
    for (teacher, name) in [("image_teacher", &image), ("video_teacher", &video)] {
        assert_eq!(pinned[teacher]["weights"].as_str(), Some(name.as_str()));
        assert!(pinned[teacher]["digest"].as_str().unwrap().starts_with("sha256:"), "{pinned}");
    }
    let resume = |server: &Server, home: &Path, steps: &str| {
        let mut resume = server.run(home, &["distill", "--steps", steps, "--resume"]);
        resume.arg(dir.join("run"));
        resume
    };
    server.seen();
    succeed(resume(&server, &home, "2").env("HF_HUB_OFFLINE", "1"));
    assert_eq!(server.seen(), Vec::<String>::new());
    // Another cache: the same commit comes again; and other bytes under its name are refused.
    succeed(&mut resume(&server, &dir.join("empty"), "3"));
    let asked = server.seen();
    assert!(
        asked.iter().any(|l| l.contains(&format!("/api/models/MCG-NJU/videomae-base/revision/{COMMIT}"))),
        "{asked:?}"
    );
    let mut others = published(dir);
    let files = others.get_mut("timm/vit_base_patch16_224.mae").unwrap();
    files.insert("model.safetensors".to_owned(), teacher(dir, "1"));
    let server = Site { repositories: others, ..Site::default() }.serve();
    let text = failure(&mut resume(&server, &dir.join("none"), "4"));
    for part in [&format!("--image-teacher {image}: the run began with sha256:"), "this is sha256:"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_recipe_says_what_it_downloads_and_what_it_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, home) = (dir.path(), dir.path().join("home"));
    std::fs::write(dir.join("list.txt"), format!("{ASSETS}/clips/high_bframes.mp4 0\n")).unwrap();
    let server = Site::default().serve();
    let refused = |args: &[&str]| failure(&mut distill(&server, &home, args, dir, "run"));
    // The command as it stands in the documentation: here the Hub has no such repository.
    let text = refused(&["--recipe", "mvd-small-from-base-k400"]);
    assert!(text.contains("hf:timm/vit_base_patch16_224.mae: ") && text.contains("(404)"), "{text}");
    let given = dir.join("mae.safetensors");
    published(dir);
    let given = given.to_str().unwrap();
    let text =
        refused(&["--recipe", "mvd-small-from-base-k400", "--image-teacher", given, "--image-teacher-size", "32,2,2"]);
    assert!(text.contains("hf:MCG-NJU/videomae-base: ") && text.contains("(404)"), "{text}");
    server.seen();
    for (args, parts) in [
        (&[][..], ["--image-teacher: expected its weights", "--recipe downloads public ones"]),
        (&["--recipe", "mvd-tiny"], ["--image-teacher: expected its weights", "no public weights fit"]),
        (
            &["--recipe", "mvd-huge-from-huge-k400"],
            ["--video-teacher: expected its weights", "hf:MCG-NJU/videomae-huge-finetuned-kinetics"],
        ),
        (
            &["--recipe", "mvd-base-from-large-k400", "--image-teacher-size", "base"],
            [
                "--image-teacher: expected its weights",
                "the recipe's, hf:timm/vit_large_patch16_224.mae, are of another size",
            ],
        ),
        (
            &["--recipe", "mvd-base-from-large-k400", "--patch", "32"],
            ["--image-teacher", "are of another size or patch"],
        ),
    ] {
        let text = refused(args);
        assert!(parts.iter().all(|part| text.contains(part)), "{args:?}: {text}");
    }
    assert_eq!(server.seen(), Vec::<String>::new(), "nothing is downloaded for a command that lacks something");
    let list = succeed(mvd().arg("recipes"));
    for part in [
        "image teacher hf:timm/vit_large_patch16_224.mae, video teacher hf:MCG-NJU/videomae-large",
        "image teacher hf:timm/vit_huge_patch14_224.mae, video teacher by --video-teacher",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let one = succeed(mvd().args(["recipes", "mvd-huge-from-huge-k400"]));
    assert!(one.contains("# image teacher: hf:timm/vit_huge_patch14_224.mae (2520 MB): MAE's own encoder"), "{one}");
    assert!(one.contains("# video teacher: no public weights fit: MVD's VideoMAE-H of 1600 epochs"), "{one}");
}

#[test]
fn the_page_of_weights_has_every_repository_that_recipes_name() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/weights.md")).unwrap();
    let list = succeed(mvd().arg("recipes"));
    let named: Vec<&str> = list.split([' ', ',', '\n']).filter(|word| word.starts_with("hf:")).collect();
    assert_eq!(named.len(), 13, "{list}");
    for weights in named {
        assert!(page.contains(&format!("`{weights}`")), "{weights} is not on the page");
    }
}
