// Before anything is drawn: the theme that the reader has chosen, if any.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("bnlens-theme");
  } catch {
    // Storage may be closed to a page that was opened from a file.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
