//! What the files of a distillation's teachers say of them.

use super::Failure;
use super::report::say;
use crate::config::{DistillConfig, TeacherConfig, VideoModel};
use crate::model::Vit;
use crate::model::encoder::Family;
use crate::model::opened::{Given, Opened};
use crate::weights::{self, Stack};

/// What of the teachers is said beside their files.
pub(super) struct Stated {
    /// Whether a recipe or a config names sizes and patches.
    pub by_config: bool,
    /// Whether a flag gives the image teacher's size, and the video teacher's.
    pub sizes: [bool; 2],
    /// Whether `--patch` is given.
    pub patch: bool,
    /// Whether `--image-teacher-patch` is given.
    pub image_patch: bool,
    /// Whether `--image-teacher-input-size` is given.
    pub image_size: bool,
    /// Whether `--video-teacher` is given, whose file then says whose model it is.
    pub video: bool,
    /// Whether nothing is downloaded.
    pub dry_run: bool,
}

/// Takes sizes and patches of the teachers from their files, where nothing else says them, and holds what is said against them.
pub(super) fn adapt(config: &mut DistillConfig, stated: &Stated) -> Result<(), Failure> {
    let mut patches = Vec::new();
    for (index, name) in ["image", "video"].into_iter().enumerate() {
        let model = config.video_model;
        let teacher = if index == 0 { &mut config.image_teacher } else { &mut config.video_teacher };
        let Some(teacher) = teacher.as_mut().filter(|t| !t.weights.as_os_str().is_empty()) else { continue };
        if stated.dry_run && !weights::is_local(&teacher.weights)? {
            let Vit { dim, depth, heads, .. } = teacher.vit;
            let file = teacher.weights.display();
            say(&format!(
                "{name} teacher: {file} is not in the cache, and a dry run downloads nothing; planned as {dim},{depth},{heads}"
            ));
            continue;
        }
        let (file, copies) = teacher.which.of(&teacher.weights)?;
        let family = match (index, stated.video) {
            (0, _) => Some(Family::Mae),
            (_, true) => None,
            _ => Some(model.family()),
        };
        let opened = Opened::open(&file, &Given { family, copies, ..Given::default() })?;
        if index == 1 {
            config.video_model = video_model(&opened, teacher)?;
        }
        take_size(name, teacher, &opened, stated.sizes[index], stated.by_config)?;
        patches.push((index, opened.about.patch, opened));
    }
    take_patch(config, stated, &patches)?;
    for (index, _, opened) in &patches {
        let teacher = if *index == 0 { &config.image_teacher } else { &config.video_teacher };
        let Some(teacher) = teacher else { continue };
        if *index == 1 {
            opened.expect_grid(&config.data.grid())?;
        }
        if opened.size.from != "as published" && opened.size.value != teacher.size {
            let (name, own, used) = (["image", "video"][*index], opened.size.value, teacher.size);
            let from = &opened.size.from;
            say(&format!(
                "{name} teacher: of frames of {own} pixels ({from}), used at {used}: its positions are computed anew"
            ));
        }
    }
    Ok(())
}

/// Whose model the file of the video teacher is.
fn video_model(opened: &Opened, teacher: &TeacherConfig) -> Result<VideoModel, Failure> {
    match opened.family.as_ref().map(|known| known.value) {
        Some(Family::StMae) => Ok(VideoModel::StMae),
        None | Some(Family::VideoMae) => Ok(VideoModel::Videomae),
        Some(Family::Mae) => {
            let file = teacher.weights.display();
            Err(format!(
                "--video-teacher {file}: expected a VideoMAE or an ST-MAE, got an MAE, which sees single frames"
            )
            .into())
        }
        Some(other) => {
            let (file, other) = (teacher.weights.display(), other.name());
            Err(format!("--video-teacher {file}: expected a VideoMAE or an ST-MAE, got a model of {other}").into())
        }
    }
}

/// Takes a teacher's blocks from its file, or holds those that are said against it.
fn take_size(
    name: &str,
    t: &mut TeacherConfig,
    opened: &Opened,
    by_flag: bool,
    by_config: bool,
) -> Result<(), Failure> {
    let (file, flag) = (t.weights.display(), format!("--{name}-teacher-size"));
    let Stack { dim, depth } = opened.about.encoder;
    let is_same = (t.vit.dim, t.vit.depth) == (dim, depth);
    if !by_flag && !by_config {
        if opened.heads().is_none() {
            return Err(format!(
                "--{name}-teacher {file}: its width is {dim}, its depth {depth}, and nothing says its number of attention \
                 heads; give all three: {flag} {dim},{depth},HEADS"
            )
            .into());
        }
        let own = opened.vit()?;
        if own != t.vit {
            say(&format!("{name} teacher: {dim},{depth},{}, as {file} is", own.heads));
            t.vit = own;
        }
        return Ok(());
    }
    if !is_same {
        let said = format!("{},{},{}", t.vit.dim, t.vit.depth, t.vit.heads);
        let heads = opened.heads().map_or("HEADS".to_owned(), |heads| heads.value.to_string());
        let (who, way) = match by_flag {
            true => (flag.clone(), format!("give {dim},{depth},{heads} or leave it out")),
            false => ("the recipe or config".to_owned(), format!("{flag} {dim},{depth},{heads} takes the file's")),
        };
        return Err(
            format!("--{name}-teacher {file}: {who} says {said}, the file has {dim},{depth},{heads}; {way}").into()
        );
    }
    Ok(opened.expect_heads(&t.vit, &flag)?)
}

/// Takes the patch from the files, or holds the one that is said against them.
fn take_patch(config: &mut DistillConfig, stated: &Stated, files: &[(usize, usize, Opened)]) -> Result<(), Failure> {
    let Some(first) = files.first().map(|(_, patch, _)| *patch) else { return Ok(()) };
    let agree = files.iter().all(|(_, patch, _)| *patch == first);
    if !stated.patch && !stated.by_config && !stated.image_patch {
        if !agree {
            let own = files.iter().map(|(index, patch, _)| format!("{} {patch}", ["image", "video"][*index]));
            let own = own.collect::<Vec<_>>().join(", ");
            return Err(format!("--patch: expected the student's, as the teachers' are not the same ({own}); the video teacher takes the student's").into());
        }
        if first != config.data.patch {
            say(&format!("patch: {first}, as the teachers' files are"));
            config.data.patch = first;
            [&mut config.image_teacher, &mut config.video_teacher].into_iter().flatten().for_each(|t| t.patch = first);
        }
    }
    let (size, patch) = (config.data.input_size, config.data.patch);
    for (index, own, opened) in files {
        let teacher = if *index == 0 { &mut config.image_teacher } else { &mut config.video_teacher };
        let Some(t) = teacher.as_mut().filter(|t| t.patch != *own) else { continue };
        let file = opened.origin.path.display();
        if *index == 1 {
            return Err(format!("--patch: the student's is {patch}, that of --video-teacher {file} is {own}, and they must be the same; give --patch {own}").into());
        }
        if stated.image_patch || stated.by_config {
            return Err(format!(
                "--image-teacher {file}: expected a patch of {}, the file has {own}; give --image-teacher-patch {own}",
                t.patch
            )
            .into());
        }
        t.patch = *own;
        if !stated.image_size {
            t.size = own * (size / patch.max(1));
        }
        say(&format!("image teacher: patch {own}, as {file} is; frames of {} pixels", t.size));
    }
    Ok(())
}
