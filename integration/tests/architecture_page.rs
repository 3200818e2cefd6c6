//! ARCHITECTURE.md tells the truth: each file that its table of arrows names is there, and each function or type is in one of the files
//! of its row.

use std::path::{Path, PathBuf};

/// The text between backticks in a cell.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The files of a cell. A path is one from the top of the checkout, or from a folder that the path before it goes through; a folder stands
/// for all files in it. An error names the path that is not there.
fn files(top: &Path, cell: &str) -> Result<Vec<PathBuf>, String> {
    let (mut before, mut files) = (top.to_owned(), Vec::new());
    for name in code(cell) {
        let found = before.ancestors().map(|folder| folder.join(name)).find(|path| path.exists());
        let path = found.ok_or_else(|| format!("{name} is not there: {}", cell.trim()))?;
        before.clone_from(&path);
        let mut paths = vec![path];
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).map_err(|e| e.to_string())?;
                paths.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
            } else {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// The last names of `a::b::{C, d}`, or of `C::d`.
fn last_names(path: &str) -> Vec<&str> {
    match path.split_once('{') {
        Some((_, names)) => names.trim_end_matches('}').split(',').map(str::trim).collect(),
        None => vec![path.rsplit("::").next().expect("a name")],
    }
}

fn defines(text: &str, name: &str) -> bool {
    ["fn", "struct", "enum", "trait", "mod"].iter().any(|word| {
        text.match_indices(&format!("{word} {name}")).any(|(at, found)| {
            !text[at + found.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        })
    })
}

#[test]
fn the_files_and_names_of_the_table_of_arrows_are_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let page = std::fs::read_to_string(top.join("ARCHITECTURE.md")).expect("the page");
    let rows = page.lines().skip_while(|line| !line.starts_with("| arrow | function | file |")).skip(2);
    let (mut checked, mut missing) = (0, Vec::new());
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, functions, places] = cells[..] else { panic!("not three cells: {row}") };
        let files = match files(top, places) {
            Ok(files) => files,
            Err(fault) => {
                missing.push(fault);
                continue;
            }
        };
        let texts: Vec<String> = files
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "rs"))
            .map(|file| std::fs::read_to_string(file).expect("text"))
            .collect();
        for name in code(functions).into_iter().flat_map(last_names) {
            checked += 1;
            // A module has the name of its file.
            let is_module = files.iter().any(|file| file.file_stem().is_some_and(|stem| stem == name));
            if !is_module && !texts.iter().any(|text| defines(text, name)) {
                missing.push(format!("{name} is not defined in {}", places.trim()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(checked > 50, "only {checked} names were found");
}
