//! `weft image`: which program runs for which image name. A platform that runs sees changes at once.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail};
use local::images::Images;

use crate::{args, place};

pub fn run(command: args::Image) -> anyhow::Result<()> {
    match command {
        args::Image::Add { name, path, with, place } => {
            open(&place)?.add(&name, &path, &with).context("add the image")?;
            println!("{name} runs {}", path.display());
        }
        args::Image::Rm { name, place } => {
            if !open(&place)?.remove(&name).context("remove the image")? {
                bail!("remove the image: {name} was not added; `weft image ls` shows what was");
            }
            println!("{name} is forgotten; pods that run go on");
        }
        args::Image::Ls(place) => {
            for (name, image) in open(&place)?.all() {
                println!("{name}  {}", image.path.display());
            }
        }
    }
    Ok(())
}

fn open(place: &args::Place) -> anyhow::Result<Images> {
    let data_dir = place::data_dir(place)?;
    fs::create_dir_all(&data_dir).with_context(|| format!("create {}", data_dir.display()))?;
    Ok(Images::open(&data_dir, samples()))
}

/// The images that this binary is itself.
pub fn samples() -> BTreeMap<String, local::images::Image> {
    let binary = std::env::current_exe().unwrap_or_else(|_| Path::new("weft").to_owned());
    local::images::samples(&binary)
}
