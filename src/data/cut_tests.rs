//! What a view makes of a clip's pixels: how they are resized, and how often a clip is changed.

use super::*;
use crate::data::rng;

/// The clip that a generator of this number draws of a folder with one picture.
fn clip(folder: &Path, view: View, number: usize) -> Vec<u8> {
    let config = ClipConfig::new(1, 1, 16, view);
    draw(folder, &config, &mut rng(3, 0, number, 0)).unwrap().remove(0).frames
}

#[test]
fn every_view_resizes_as_its_official_program_does() {
    let dir = tempfile::tempdir().unwrap();
    // Four columns become one: the two in the middle are white, all four on average grey.
    let white = |x: u32| matches!(x % 4, 1 | 2);
    let stripes = image::RgbImage::from_fn(64, 64, |x, _| image::Rgb([if white(x) { 255 } else { 0 }; 3]));
    stripes.save(dir.path().join("0.png")).unwrap();
    let middle = |view| clip(dir.path(), view, 0)[3 * (8 * 16 + 8)];
    let test = View::Test { segments: false, clip: 0, clips: 1, crop: 0, crops: 1 };
    let resized = |bicubic| View::Resized { crop_min: 1.0, flip: false, bicubic };
    let plain = [View::Training(Training::crops(1.0)), test, resized(false)];
    assert_eq!(plain.map(middle), [255; 3], "between neighbours");
    let smooth = [View::Pretraining { crop_min: 1.0 }, resized(true)].map(middle);
    assert!(smooth.iter().all(|grey| (100..156).contains(grey)), "antialiased: {smooth:?}");
}

#[test]
fn clips_are_erased_and_jittered_as_often_as_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    image::RgbImage::from_pixel(32, 32, image::Rgb([90; 3])).save(dir.path().join("0.png")).unwrap();
    let changed = |training| {
        let is_changed = |number: &usize| clip(dir.path(), View::Training(training), *number).iter().any(|v| *v != 90);
        (0..200).filter(is_changed).count()
    };
    let plain = Training::crops(0.5);
    let (none, quarter) = (changed(plain), changed(Training { erasing: 0.25, ..plain }));
    assert!(none == 0 && (30..75).contains(&quarter), "{none} and {quarter} of 200");
    let jittered = changed(Training { jitter: 0.4, ..plain });
    assert!(jittered > 190, "{jittered} of 200");
}

/// Clips of one decoding: for pre-training each of its own frames, for fine-tuning of the same.
#[test]
fn repeated_clips_have_the_frames_that_the_official_programs_give_them() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..60u8 {
        let name = dir.path().join(format!("{i:02}.png"));
        image::RgbImage::from_pixel(16, 16, image::Rgb([4 * i; 3])).save(name).unwrap();
    }
    let greys = |view| {
        let config = ClipConfig { repeats: 6, ..ClipConfig::new(2, 3, 16, view) };
        let (index, mut cutter) = (Index::default(), Cutter::default());
        let clips = draw_repeated(&Item::of(dir.path()), &config, &index, &mut cutter, &mut rng(5, 0, 0, 0)).unwrap();
        assert_eq!(clips.len(), 6);
        clips.iter().map(|clip| clip.frames[0]).collect::<BTreeSet<u8>>().len()
    };
    let resized = View::Resized { crop_min: 0.5, flip: true, bicubic: false };
    assert!(greys(resized) > 3 && greys(View::Pretraining { crop_min: 1.0 }) > 3);
    assert_eq!(greys(View::Training(Training::crops(0.5))), 1);
}
