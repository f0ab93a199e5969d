//! Sets of a few clips, prepared with and without the `ffmpeg` program.

use super::*;
use crate::data::{Dataset, Item, Part};

const CONFIG: PrepareConfig = PrepareConfig { side: 32, keyint: 4, crf: 20 };

fn set(dir: &Path) -> Dataset {
    let clips = std::path::absolute("assets/clips").unwrap();
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::copy(clips.join("high_bframes.mp4"), dir.join("sub/a.mp4")).unwrap();
    fs::copy(clips.join("vp9.webm"), dir.join("b.webm")).unwrap();
    fs::write(dir.join("c.mp4"), b"nothing").unwrap();
    fs::write(dir.join("list.txt"), "sub/a.mp4 1\nb.webm 2 9 5\nc.mp4 3\n").unwrap();
    Dataset::open(&dir.join("list.txt"), None).unwrap()
}

#[test]
fn a_set_is_made_smaller_and_a_second_call_finds_it() {
    for by_ffmpeg in [false, ffmpeg_encodes()] {
        let dir = tempfile::tempdir().unwrap();
        let set = set(dir.path());
        let out = dir.path().join("out");
        // Left by a call that was killed.
        fs::create_dir_all(out.join("sub/a.part")).unwrap();
        let first = prepare(&set.items, &[], &out, &CONFIG, by_ffmpeg, || {}).unwrap();
        assert!(first[..2] == [Prepared::Made, Prepared::Made], "{first:?}");
        assert!(matches!(&first[2], Prepared::Failed(why) if why.contains("c.mp4")), "{first:?}");
        let again = prepare(&set.items, &[], &out, &CONFIG, by_ffmpeg, || {}).unwrap();
        assert!(again[..2] == [Prepared::Found, Prepared::Found], "{again:?}");
        let made: Vec<Item> = Dataset::open(&out.join("list.txt"), None).unwrap().items.iter().collect();
        assert_eq!(
            made.iter().map(|i| (i.label, i.part)).collect::<Vec<_>>(),
            [(Some(1), Part::WHOLE), (Some(5), Part { start: 2, frames: 9 })]
        );
        for item in made {
            let mut video = video::open(&item.path).unwrap();
            assert_eq!(video.len(), 24, "{}", item.path.display());
            let frames = video.frames(&[0, 13]).unwrap();
            assert!((42..=44).contains(&frames.width) && frames.height == 32, "{}x{}", frames.width, frames.height);
        }
    }
}

#[test]
fn two_videos_of_one_name_are_refused() {
    let items: Items = [Item::of("a/x.mp4"), Item::of("a/x.avi")].into_iter().collect();
    let error = prepare(&items, &[], Path::new("/nowhere"), &CONFIG, true, || {}).unwrap_err().to_string();
    assert!(error.contains("x.avi") && error.contains("x.mp4"), "{error}");
}

/// Names, labels and parts of the list that was written.
fn listed(out: &Path) -> Vec<(String, Option<u32>, Part)> {
    let set = Dataset::open(&out.join("list.txt"), None).unwrap();
    let one = |i| (set.items.name(i).to_string_lossy().into_owned(), set.items.label(i), set.items.at(i).part);
    (0..set.items.len()).map(one).collect()
}

#[test]
fn a_video_is_made_once_however_often_it_is_named() {
    for by_ffmpeg in [false, ffmpeg_encodes()] {
        let dir = tempfile::tempdir().unwrap();
        for name in ["A.mp4", "B.mp4", "C.mp4"] {
            fs::copy("assets/clips/high_bframes.mp4", dir.path().join(name)).unwrap();
        }
        let part = |start, frames| Part { start, frames };
        let item = |name: &str, label, part| Item { path: name.into(), label: Some(label), part };
        let mut items = Items::new(dir.path().to_owned());
        let named = [
            item("A.mp4", 0, part(0, 10)),
            item("B.mp4", 0, Part::WHOLE),
            item("A.mp4", 1, part(10, 9)),
            item("C.mp4", 0, Part::WHOLE),
            item("A.mp4", 2, Part::WHOLE),
        ];
        named.iter().for_each(|Item { path, label, part }| items.push(path, *label, *part));
        let out = dir.path().join("out");
        let count = std::sync::atomic::AtomicUsize::new(0);
        let progress = || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let prepared = prepare(&items, &[], &out, &CONFIG, by_ffmpeg, progress).unwrap();
        assert_eq!((prepared, count.into_inner()), (vec![Prepared::Made; 3], 3));
        let end = if by_ffmpeg { ".mp4" } else { "" };
        let expected = named
            .map(|Item { path, label, part }| (format!("{}{end}", path.with_extension("").display()), label, part));
        assert_eq!(listed(&out), expected);
        for name in ["A", "B", "C"] {
            assert_eq!(video::open(&out.join(format!("{name}{end}"))).unwrap().frames(&[0, 23]).unwrap().height, 32);
        }
    }
}

#[test]
fn another_size_or_quality_or_source_is_made_anew() {
    for by_ffmpeg in [false, ffmpeg_encodes()] {
        let dir = tempfile::tempdir().unwrap();
        let set = set(dir.path());
        let out = dir.path().join("out");
        let call = |config: PrepareConfig| prepare(&set.items, &[], &out, &config, by_ffmpeg, || {}).unwrap();
        let height = || video::open(&out.join(listed(&out)[0].0.as_str())).unwrap().frames(&[0]).unwrap().height;
        assert_eq!((call(CONFIG)[0].clone(), height()), (Prepared::Made, 32));
        assert_eq!(call(CONFIG)[0], Prepared::Found);
        let small = PrepareConfig { side: 16, ..CONFIG };
        assert_eq!((call(small)[0].clone(), height()), (Prepared::Made, 16));
        assert_eq!(call(small)[0], Prepared::Found);
        let coarse = PrepareConfig { crf: 40, ..small };
        assert_eq!(call(coarse)[0], if by_ffmpeg { Prepared::Made } else { Prepared::Found });
        fs::copy("assets/clips/baseline.mp4", dir.path().join("sub/a.mp4")).unwrap();
        assert_eq!(call(coarse)[..2], [Prepared::Made, Prepared::Found]);
        // One that fails now is in the list no more, whatever an earlier call made of it.
        fs::write(dir.path().join("sub/a.mp4"), b"no more").unwrap();
        assert!(matches!(&call(coarse)[..2], [Prepared::Failed(_), Prepared::Found]));
        assert_eq!(listed(&out).len(), 1);
    }
}

#[test]
fn folders_of_frames_are_prepared_under_their_names() {
    for by_ffmpeg in [false, ffmpeg_encodes()] {
        let dir = tempfile::tempdir().unwrap();
        let frames = dir.path().join("set/wave 2");
        fs::create_dir_all(&frames).unwrap();
        (0..3).for_each(|i| image::RgbImage::new(96, 64).save(frames.join(format!("{i}.png"))).unwrap());
        // The set is one folder, which has no name in itself; or one of several.
        for (set, name) in [(&frames, "wave 2"), (&dir.path().join("set"), "wave 2")] {
            let out = tempfile::tempdir().unwrap();
            let set = Dataset::open(set, None).unwrap();
            assert_eq!(
                prepare(&set.items, &set.classes, out.path(), &CONFIG, by_ffmpeg, || {}).unwrap(),
                [Prepared::Made]
            );
            assert_eq!(listed(out.path()), [(name.to_owned(), None, Part::WHOLE)]);
            let frames = video::open(&out.path().join(name)).unwrap().frames(&[2]).unwrap();
            assert_eq!((frames.width, frames.height), (48, 32));
        }
    }
}

#[test]
fn names_read_back_from_the_list_with_the_names_of_classes_beside() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a 1/take 2.mp4", "b \"c\"/#x.mp4"] {
        let path = dir.path().join("set").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy("assets/clips/baseline.mp4", path).unwrap();
    }
    let set = Dataset::open(&dir.path().join("set"), None).unwrap();
    let out = dir.path().join("out");
    prepare(&set.items, &set.classes, &out, &CONFIG, false, || {}).unwrap();
    let expected =
        [("a 1/take 2", 0), ("b \"c\"/#x", 1)].map(|(name, label)| (name.to_owned(), Some(label), Part::WHOLE));
    assert_eq!(listed(&out), expected);
    let text = fs::read_to_string(out.join("list.txt")).unwrap();
    assert!(text.starts_with("path,label,class\na 1/take 2,0,a 1\n"), "{text}");
}

#[test]
fn one_call_at_a_time_writes_to_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let held = Record::open(dir.path()).unwrap();
    let items: Items = [Item::of("assets/clips/baseline.mp4")].into_iter().collect();
    let call = || prepare(&items, &[], dir.path(), &CONFIG, false, || {});
    assert!(call().unwrap_err().to_string().contains("another `mvd prepare`"));
    drop(held);
    assert_eq!(call().unwrap(), [Prepared::Made]);
    // Frames of one video would lie among those of another.
    let items: Items = [Item::of("a.mp4"), Item::of("a/b.mp4")].into_iter().collect();
    let error = prepare(&items, &[], dir.path(), &CONFIG, false, || {}).unwrap_err().to_string();
    assert!(error.contains("a.mp4") && error.contains("b.mp4"), "{error}");
}
