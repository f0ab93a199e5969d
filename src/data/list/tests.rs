use super::*;
use crate::data::{Dataset, Item};

/// A list of the bytes, in a folder of its own.
fn list(bytes: &[u8], base: &Path) -> Result<Dataset> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("list.txt");
    std::fs::write(&file, bytes).unwrap();
    Dataset::open(&file, Some(base))
}

fn open(text: &str) -> Result<Dataset> {
    list(text.as_bytes(), Path::new("/root"))
}

#[test]
fn lists_come_in_many_forms() {
    let part = |start, frames| Part { start, frames };
    let item = |path: &str, label, part| Item { path: path.into(), label, part };
    let set = open("# a set\na b.mp4 3\n\nc.mp4\nd.mp4,7\ne\t12\t4\nf 30 99 5\r\ng.mp4 0 -1 -1\nh 1.mp4  2\n").unwrap();
    let expected = [
        item("/root/a b.mp4", Some(3), Part::WHOLE),
        item("/root/c.mp4", None, Part::WHOLE),
        item("/root/d.mp4", Some(7), Part::WHOLE),
        item("/root/e", Some(4), part(0, 12)),
        item("/root/f", Some(5), part(30, 99)),
        item("/root/g.mp4", None, Part::WHOLE),
        item("/root/h 1.mp4", Some(2), Part::WHOLE),
    ];
    assert_eq!(set.items.iter().collect::<Vec<_>>(), expected);
    assert!(set.classes.is_empty());
}

#[test]
fn tables_are_read_by_their_header() {
    let item = |path: &str, label, part| Item { path: path.into(), label, part };
    let set = open("label,Video_Path,num_frames\nwave,\"a,1.mp4\",\nclap,b.mp4,40\nwave,/c.mp4,\n").unwrap();
    let expected = [
        item("/root/a,1.mp4", Some(1), Part::WHOLE),
        item("/root/b.mp4", Some(0), Part { start: 0, frames: 40 }),
        item("/c.mp4", Some(1), Part::WHOLE),
    ];
    assert_eq!(set.items.iter().collect::<Vec<_>>(), expected);
    assert_eq!(set.classes, ["clap", "wave"]);
    assert!(set.expect_labels(Path::new("x"), 2).is_ok());
    let error = set.expect_labels(Path::new("x"), 1).unwrap_err().to_string();
    assert!(error.contains("a,1.mp4: expected a label from 0 to 0, got 1"), "{error}");
    let set = open("path,class,start,frames\na.mp4,10,5,6\nb.mp4,2,,\nc.mp4,-1,,\n").unwrap();
    let expected = [
        item("/root/a.mp4", Some(10), Part { start: 5, frames: 6 }),
        item("/root/b.mp4", Some(2), Part::WHOLE),
        item("/root/c.mp4", None, Part::WHOLE),
    ];
    assert_eq!(set.items.iter().collect::<Vec<_>>(), expected);
    // A byte order mark, a quoted comma, rows that end in a carriage return alone.
    let set = open("\u{feff}\"a, b\",PATH,label\r1,x.mp4,3\r").unwrap();
    assert_eq!(set.items.iter().collect::<Vec<_>>(), [item("/root/x.mp4", Some(3), Part::WHOLE)]);
    let set = open("\u{feff}5\" disk.mp4 3\n").unwrap();
    assert_eq!(set.items.iter().collect::<Vec<_>>(), [item("/root/5\" disk.mp4", Some(3), Part::WHOLE)]);
    for (text, got) in [
        ("path,start_frame\na.mp4,soon\n", "soon"),
        ("path,label\na.mp4\n", "1 fields, the header has 2"),
        ("path,label\n,1\n", "line 2"),
    ] {
        let error = open(text).unwrap_err().to_string();
        assert!(error.contains("list.txt, line") && error.contains(got), "{error}");
    }
}

/// A folder with these files and folders of frames (their number of frames).
fn tree(files: &[&str], frames: &[(&str, u32)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in files {
        std::fs::copy("assets/clips/baseline.mp4", dir.path().join(name)).unwrap();
    }
    for (name, count) in frames {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
        (0..*count)
            .for_each(|i| image::RgbImage::new(2, 2).save(dir.path().join(name).join(format!("{i}.png"))).unwrap());
    }
    dir
}

/// Names, labels and parts of a list in that folder.
fn read_in(dir: &tempfile::TempDir, bytes: &[u8]) -> Vec<(String, Option<u32>, Part)> {
    let set = list(bytes, dir.path()).unwrap_or_else(|error| panic!("{}: {error}", shown(bytes)));
    (0..set.items.len())
        .map(|i| (set.items.name(i).to_string_lossy().into_owned(), set.items.label(i), set.items.at(i).part))
        .collect()
}

fn entry(name: &str, label: Option<u32>, part: Part) -> (String, Option<u32>, Part) {
    (name.to_owned(), label, part)
}

const fn frames_from(start: u32, frames: u32) -> Part {
    Part { start, frames }
}

fn error_in(dir: &tempfile::TempDir, text: &str) -> String {
    list(text.as_bytes(), dir.path()).map_or_else(|error| error.to_string(), |set| panic!("{text}: {:?}", set.items))
}

#[test]
fn quoted_names_and_numbers_with_a_point_are_read() {
    let dir = tree(&[], &[]);
    let whole = |name: &str, label| entry(name, Some(label), Part::WHOLE);
    assert_eq!(read_in(&dir, b"\"d e.mp4\" 1\na.mp4 0\n"), [whole("d e.mp4", 1), whole("a.mp4", 0)]);
    assert_eq!(read_in(&dir, b"\"a\"\"b.mp4\",\"10\"\n\"c\",3.0\n"), [whole("a\"b.mp4", 10), whole("c", 3)]);
    // A quote that is part of a name.
    assert_eq!(read_in(&dir, b"\"a\".mp4 3\n\"b.mp4 4\n"), [whole("\"a\".mp4", 3), whole("\"b.mp4", 4)]);
    let text = b"path,label\na.mp4,0.0\nb.mp4,1.0\nc.mp4,10.0\n\"d e.mp4\",2.0\n";
    let set = list(text, dir.path()).unwrap();
    assert!(set.classes.is_empty());
    let expected = [whole("a.mp4", 0), whole("b.mp4", 1), whole("c.mp4", 10), whole("d e.mp4", 2)];
    assert_eq!(read_in(&dir, text), expected);
    assert_eq!(read_in(&dir, b"a.mp4 0.0\nb.mp4 1e1\n"), [whole("a.mp4", 0), whole("b.mp4", 10)]);
    assert_eq!(
        read_in(&dir, b"path,label\na.mp4,1\nb.mp4,NaN\n"),
        [whole("a.mp4", 1), entry("b.mp4", None, Part::WHOLE)]
    );
    for (text, got) in [
        ("path,label\na.mp4,1\nb.mp4,dog\n", "`1` and `dog`"),
        ("a.mp4 0.5\n", "a.mp4 0.5"),
        ("a.mp4 4294967295\n", "too large"),
        ("path,label\na.mp4,5000000000\n", "too large"),
    ] {
        let error = error_in(&dir, text);
        assert!(error.contains("list.txt, line") && error.contains(got), "{error}");
    }
}

#[test]
fn a_name_that_begins_with_a_number_sign_is_a_video_if_it_is_there() {
    let dir = tree(&["#shorts funny.mp4", "b.mp4"], &[("#7", 3)]);
    let text = b"# a set\n#shorts funny.mp4 0\n#b.mp4 4\n#no.mp4 1 2 3 4\nb.mp4 1\n#7 2\n#7 3 2\n";
    let whole = |name: &str, label| entry(name, Some(label), Part::WHOLE);
    let expected =
        [whole("#shorts funny.mp4", 0), whole("b.mp4", 1), whole("#7", 2), entry("#7", Some(2), frames_from(0, 3))];
    assert_eq!(read_in(&dir, text), expected);
}

#[test]
fn names_that_end_in_numbers_are_told_by_what_is_there() {
    let dir = tree(&["b"], &[("take 2", 3), ("a 1", 2), ("a", 2)]);
    assert_eq!(read_in(&dir, b"take 2 3\n"), [entry("take 2", Some(3), Part::WHOLE)]);
    assert_eq!(read_in(&dir, b"take 2 0 3 5\n"), [entry("take 2", Some(5), frames_from(0, 3))]);
    assert_eq!(read_in(&dir, b"take 2\n"), [entry("take 2", None, Part::WHOLE)]);
    assert_eq!(read_in(&dir, b"take 2,3\ntake 2\t3\ntake 2;3\n"), vec![entry("take 2", Some(3), Part::WHOLE); 3]);
    // Of two the shorter.
    assert_eq!(read_in(&dir, b"a 1\n"), [entry("a", Some(1), Part::WHOLE)]);
}

#[test]
fn two_numbers_are_what_fits_the_files() {
    let dir = tree(&["a.mp4", "b.mp4"], &[("four", 4), ("five", 5), ("ten", 10), ("one", 1)]);
    let whole = |name: &str| entry(name, None, Part::WHOLE);
    assert_eq!(read_in(&dir, b"a.mp4 0 -1\nb.mp4 0 -1\n"), [whole("a.mp4"), whole("b.mp4")]);
    // The clip has 24 frames.
    assert_eq!(read_in(&dir, b"a.mp4 5 -1\n"), [entry("a.mp4", None, frames_from(5, u32::MAX))]);
    let part = |name: &str, start, frames| entry(name, None, frames_from(start, frames));
    // A start of 0 is that of all lines.
    assert_eq!(read_in(&dir, b"ten 1 4\nfive 0 4\n"), [part("ten", 1, 4), part("five", 0, 4)]);
    // All of the files, from 0 or from 1.
    assert_eq!(read_in(&dir, b"five 1 4\nten 2 8\n"), [part("five", 1, 4), part("ten", 2, 8)]);
    assert_eq!(read_in(&dir, b"four 1 4\nfive 1 5\n"), [part("four", 0, 4), part("five", 0, 5)]);
    // `frames label`: as long as the file, or nothing else.
    let labelled = |name: &str, frames, label| entry(name, Some(label), frames_from(0, frames));
    assert_eq!(
        read_in(&dir, b"four 4 1\nfive 5 0\nten 9 7\n"),
        [labelled("four", 4, 1), labelled("five", 5, 0), labelled("ten", 9, 7)]
    );
    assert_eq!(read_in(&dir, b"ten 9 7\n"), [labelled("ten", 9, 7)]);
    assert_eq!(read_in(&dir, b"ten -1 7\n"), [entry("ten", Some(7), Part::WHOLE)]);
    for (text, got) in [
        ("ten 1 4\n", "line 1: `1 4` may be"),
        ("a.mp4 1 2\n", "several labels"),
        ("four 0 5\n", "line 1: `0 5` is of no form that fits a file of 4 frames"),
        ("four 30 40\n", "line 1: `30 40` is of no form"),
        ("four 0 4\nten -1 4\n", "line 1: no form"),
        ("four 0 0 4\n", "line 1: expected at least 1 frame, got 0"),
    ] {
        let error = error_in(&dir, text);
        assert!(error.contains("list.txt") && error.contains(got), "{text}: {error}");
    }
}

#[test]
fn several_labels_are_refused_by_name() {
    let dir = tree(&["a.mp4", "b.mp4"], &[("ten", 10)]);
    for text in [
        "a.mp4 1 2 3\n",
        "a.mp4 0 1 2 3\n",
        "a.mp4 1,2,3\n",
        "a.mp4,1,2,3,4\n",
        "ten 1 2 3\n",
        "path,label\na.mp4,\"1,2\"\n",
        "path,label\na.mp4,1;2\n",
        "path,label\na.mp4,\"[0, 5]\"\n",
        "b.mp4 3\na.mp4 1;2\n",
        "a.mp4 3\nb.mp4 1 2\n",
    ] {
        let error = error_in(&dir, text);
        assert!(error.contains("list.txt, line") && error.contains("several labels"), "{text}: {error}");
    }
    // What may be labels or a part is told by a table.
    let error = error_in(&dir, "ten 1 2 3\n");
    assert!(error.contains("or a part of it (start, frames, label)"), "{error}");
    assert!(error.contains("path,start_frame,num_frames,label"), "{error}");
    let table = b"path,start_frame,num_frames,label\nten,1,2,3\n";
    assert_eq!(read_in(&dir, table), [entry("ten", Some(3), frames_from(1, 2))]);
    // Rising numbers that are all of a file from a start on are no labels.
    assert_eq!(
        read_in(&dir, b"ten 0 10 12\nten 4 6 7\n"),
        [entry("ten", Some(12), frames_from(0, 10)), entry("ten", Some(7), frames_from(4, 6))]
    );
    assert_eq!(read_in(&dir, b"ten 2 9 5\n"), [entry("ten", Some(5), frames_from(2, 9))]);
}

#[test]
fn lists_of_other_systems_are_read() {
    let dir = tree(&[], &[]);
    let expected = [entry("a.mp4", Some(0), Part::WHOLE), entry("\u{e9} b.mp4", Some(1), Part::WHOLE)];
    let text = "a.mp4 0\r\n\u{e9} b.mp4 1\r\n";
    let units = |big: bool| -> Vec<u8> {
        text.encode_utf16().flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
    };
    for bytes in [
        [&[0xff, 0xfe], &units(false)[..]].concat(),
        [&[0xfe, 0xff], &units(true)[..]].concat(),
        units(false),
        units(true),
        [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
        text.replace("\r\n", "\r").into_bytes(),
        text.replace("\r\n", "\n").into_bytes(),
    ] {
        assert_eq!(read_in(&dir, &bytes), expected, "{bytes:?}");
    }
    let table = "Path;Label\r\na.mp4;0\r\n\u{e9} b.mp4;1\r\n";
    let wide: Vec<u8> = "\u{feff}".encode_utf16().chain(table.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for bytes in [
        wide,
        table.into(),
        table.replace(';', "\t").into(),
        "LABEL,Video Path\n0,a.mp4\n1,\u{e9} b.mp4\n".into(),
        "path label\na.mp4 0\n\"\u{e9} b.mp4\" 1\n".into(),
        "a.mp4;0\n\u{e9} b.mp4;1\n".into(),
        ",path,label\n0,a.mp4,0\n1,\u{e9} b.mp4,1\n".into(),
    ] {
        assert_eq!(read_in(&dir, &bytes), expected, "{}", shown(&bytes));
    }
    // Told to be a list by its content alone.
    let file = dir.path().join("train");
    std::fs::write(&file, [&[0xff, 0xfe], &units(false)[..]].concat()).unwrap();
    assert_eq!(Dataset::open(&file, None).unwrap().items.len(), 2);
    for (bytes, got) in [
        (&b"\xff\xfe\0\0a\0\0\0"[..], "UTF-32"),
        (b"\xff\xfea\0\n\0b", "ends within a letter"),
        (b"\xff\xfea\0\n\0\0\xd8b\0", "line 2"),
    ] {
        let error = list(bytes, dir.path()).unwrap_err().to_string();
        assert!(error.contains("list.txt, line") && error.contains(got), "{error}");
    }
}

#[test]
fn given_numbers_count_more_than_names_and_unclear_columns_are_refused() {
    let dir = tree(&[], &[]);
    let two = [entry("a.mp4", Some(7), Part::WHOLE), entry("b.mp4", Some(2), Part::WHOLE)];
    for text in [
        "path,class,class_id\na.mp4,wave,7\nb.mp4,clap,2\n",
        "path,label,label_id\na.mp4,wave,7\nb.mp4,clap,2\n",
        "path,class,label\na.mp4,wave,7\nb.mp4,clap,2\n",
        "path,label,class\na.mp4,7,wave\nb.mp4,2,clap\n",
        "path,label,class_id\na.mp4,7,7.0\nb.mp4,2,2.0\n",
    ] {
        let set = list(text.as_bytes(), dir.path()).unwrap();
        let named: Vec<(usize, &str)> = set.classes.iter().map(String::as_str).enumerate().collect();
        let named: Vec<_> = named.into_iter().filter(|(_, name)| !name.is_empty()).collect();
        let beside = text.contains("wave");
        assert_eq!((named, set.numbered), (if beside { vec![(2, "clap"), (7, "wave")] } else { vec![] }, beside));
        assert_eq!(read_in(&dir, text.as_bytes()), two, "{text}");
    }
    let named = list(b"path,class,class_id\na.mp4,wave,\nb.mp4,clap,\n", dir.path()).unwrap();
    assert_eq!((named.classes, named.items.label(0)), (vec!["clap".to_owned(), "wave".to_owned()], Some(1)));
    assert!(error_in(&dir, "path,label,class_id\na.mp4,7,8\n").contains("columns `class_id` and `label`"));
    let part = |text: &str| read_in(&dir, text.as_bytes())[0].2;
    assert_eq!(part("path,start_frame,num_frames\na.mp4,5,6.0\n"), frames_from(5, 6));
    assert_eq!(part("path,start,start_frame,num_frames,length\na.mp4,0.2,5,6,0.3\n"), frames_from(5, 6));
    assert_eq!(part("path,start,frames,duration\na.mp4,5,6,9.5\n"), frames_from(5, 6));
    for (text, got) in [
        ("path,start,length\na.mp4,5,6\n", "`start` may be in seconds"),
        ("path,label,length\na.mp4,5,6\n", "`length` may be in seconds"),
        ("path,start_frame,end_frame\na.mp4,5,6\n", "`end_frame`"),
        ("path,time_start,time_end\na.mp4,5,6\n", "`time_start`"),
        ("path,start_frame\na.mp4,2.5\n", "line 2: expected a whole number of frames, got `2.5`"),
        ("path,num_frames\na.mp4,0\n", "line 2: expected at least 1 frame"),
    ] {
        let error = error_in(&dir, text);
        assert!(error.contains("list.txt, line") && error.contains(got), "{text}: {error}");
    }
    // A name that is a header's word.
    assert_eq!(read_in(&dir, b"video 3\nfile 4\n")[1], entry("file", Some(4), Part::WHOLE));
}

#[test]
fn written_lists_read_back_whatever_the_names_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut names: Vec<PathBuf> = [
        "take 2",
        "#a 1.mp4",
        "a,b.mp4",
        "say \"x\".mp4",
        "\"q\"",
        "line\nbreak.mp4",
        "cr\rx.mp4",
        " front.mp4",
        "back ",
        "path",
        "-1",
        "a;b\t3",
        "\u{e9}.mp4",
    ]
    .map(PathBuf::from)
    .to_vec();
    #[cfg(unix)]
    names.push(name_of(b"v\xff\xfe 3.mp4").unwrap().to_owned());
    for parts in [false, true] {
        let part = |i: usize| if parts && i % 2 == 1 { frames_from(i as u32, 3 + i as u32) } else { Part::WHOLE };
        let entry = |(i, name): (usize, &PathBuf)| Entry {
            name: name.clone(),
            label: (i % 3 != 2).then_some(i as u32 % 3),
            part: part(i),
        };
        for classes in [vec![], vec!["1".to_owned(), "a, \"b\"".to_owned()]] {
            let file = dir.path().join("list.txt");
            let entries: Vec<Entry> = names.iter().enumerate().map(entry).collect();
            // Spaces at the ends of names count where there is such a file.
            names.iter().for_each(|name| std::fs::write(dir.path().join(name), b"x").unwrap());
            write(&file, &entries, &classes).unwrap();
            let set = Dataset::open(&file, None).unwrap();
            assert_eq!((set.items.len(), &set.classes), (entries.len(), &classes));
            for (i, Entry { name, label, part }) in entries.iter().enumerate() {
                assert_eq!(
                    (set.items.name(i), set.items.label(i), set.items.at(i).part),
                    (name.as_path(), *label, *part)
                );
            }
        }
    }
}
