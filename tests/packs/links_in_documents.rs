//! Links in Markdown files to other files of the project lead somewhere.

use crate::read_sources::root;

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let docs = root().join("docs");
    let folders = [root().to_path_buf(), docs.clone(), docs.join("adr"), docs.join("runbooks")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    let mut links = 0;
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            if !target.is_empty() && !target.contains("://") {
                assert!(file.parent().unwrap().join(target).exists(), "{}: {target} is not there", file.display());
                links += 1;
            }
        }
    }
    assert!(links > 20, "{links}");
}
