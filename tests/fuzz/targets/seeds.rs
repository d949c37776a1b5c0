//! Writes what the fuzzer starts from: `seeds <folder>` makes a folder of valid files for every target.

use std::fs;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let root = PathBuf::from(std::env::args().nth(1).expect("a folder to write to"));
    let mut all = riskcycle_fuzz::seeds::all();
    all.push(("http", riskcycle_fuzz::http::seeds()));
    for (target, seeds) in all {
        let folder = root.join(target);
        fs::create_dir_all(&folder)?;
        for (i, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{i}")), seed)?;
        }
    }
    Ok(())
}
