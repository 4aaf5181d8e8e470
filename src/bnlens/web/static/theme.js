// Before anything is drawn: the theme that the reader has chosen, if any.
try {
  document.documentElement.dataset.theme = localStorage.getItem("bnlens-theme") ?? "system";
} catch {
  // Storage may be closed to a page that was opened from a file.
}
