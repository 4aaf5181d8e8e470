// What every page does with scripts beyond what it does without: theme, copying, a word before too large a file is sent.
(() => {
  // --- theme -----------------------------------------------------------------------------------------------------------
  const { dataset } = document.documentElement;
  const themes = ["system", "light", "dark"]; // styles know the last two
  const button = document.querySelector("button.theme");
  const next = () => themes[(themes.indexOf(dataset.theme) + 1) % themes.length];
  const show = () => {
    button.textContent = `Theme: ${dataset.theme}`;
    button.setAttribute("aria-label", `Theme: ${dataset.theme}. Change to ${next()}.`);
  };
  dataset.theme ??= "system";
  button.hidden = false;
  button.addEventListener("click", () => {
    dataset.theme = next();
    try {
      localStorage.setItem("bnlens-theme", dataset.theme);
    } catch {
      // Not remembered then.
    }
    show();
  });
  show();

  // --- copying ---------------------------------------------------------------------------------------------------------
  const addCopyButtons = (part) => {
    if (!navigator.clipboard) return;
    part.querySelectorAll(".code").forEach((code) => {
      const copy = document.createElement("button");
      copy.type = "button";
      copy.className = "copy";
      copy.textContent = "Copy";
      copy.addEventListener("click", () => navigator.clipboard.writeText(code.querySelector("pre").textContent).then(() => say(copy, "Copied")));
      code.append(copy);
    });
  };
  const say = (element, text) => {
    const before = element.textContent;
    element.textContent = text;
    setTimeout(() => (element.textContent = before), 1500);
    const status = document.querySelector('[role="status"]');
    if (status) status.textContent = text;
  };
  addCopyButtons(document);

  // --- sending ---------------------------------------------------------------------------------------------------------
  const file = document.querySelector("input[data-max-mib]");
  file?.addEventListener("change", () => {
    const most = file.dataset.maxMib;
    const isLarge = (file.files[0]?.size ?? 0) > most * 2 ** 20;
    file.setCustomValidity(isLarge ? `The file is larger than ${most} MiB.` : "");
    if (isLarge) file.reportValidity();
  });
  window.bnlens = { ...window.bnlens, addCopyButtons };
})();
