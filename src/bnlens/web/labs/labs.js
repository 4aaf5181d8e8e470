// Knobs that answer in place, with sliders; without scripts the form does the same.
(() => {
  const form = document.querySelector("form.knobs");
  const results = document.getElementById("results");
  const parts = [results, document.getElementById("numbers")];
  const compute = form?.querySelector("button[type=submit]");
  if (!form || !results || form.querySelector("fieldset:disabled")) return;
  const status = document.querySelector('[role="status"]');
  const fields = () => [...form.querySelectorAll("[name]")];

  const matches = (wanted) => Object.entries(wanted).every(([name, options]) => options.includes(form.elements[name]?.value));
  const isSlow = () => matches(JSON.parse(form.dataset.slow));

  const settle = (moving) => {
    form.querySelectorAll("[data-when]").forEach((knob) => (knob.hidden = !matches(JSON.parse(knob.dataset.when))));
    form.querySelectorAll("fieldset").forEach((group) => (group.hidden = !group.querySelector(".knob:not([hidden])")));
    form.querySelectorAll("[data-within]").forEach((knob) => {
      const field = knob.querySelector("[name]");
      let [low, high] = JSON.parse(knob.dataset.range);
      for (const [name, ranges] of Object.entries(JSON.parse(knob.dataset.within))) {
        const [least, most] = ranges[form.elements[name].value] ?? [low, high];
        [low, high] = [Math.max(low, least), Math.min(high, most)];
      }
      [field.min, field.max] = [low, high];
      if (field !== moving && field.value !== "") field.value = Math.min(Math.max(Number(field.value), low), high);
      field.dispatchEvent(new Event("bnlens-set"));
    });
    compute.hidden = !isSlow();
  };

  const addSlider = (field) => {
    const log = field.dataset.log === "true";
    const whole = field.step === "1";
    const [to, from] = log ? [Math.log, Math.exp] : [(x) => x, (x) => x];
    const slider = document.createElement("input");
    slider.type = "range";
    slider.setAttribute("aria-label", `${field.labels[0].textContent}, slider`);
    const read = () => {
      const [low, high] = [Number(field.min), Number(field.max)];
      slider.min = to(low);
      slider.max = to(high);
      slider.step = log ? "any" : whole ? 1 : (field.dataset.step ?? "any");
      if (field.value !== "") slider.value = to(Math.min(Math.max(Number(field.value), low), high));
      slider.setAttribute("aria-valuetext", field.value || field.placeholder);
    };
    slider.addEventListener("input", () => {
      const value = from(Number(slider.value));
      const shown = whole ? Math.round(value) : Number(log ? value.toPrecision(2) : value.toFixed(6));
      field.value = Math.min(Math.max(shown, Number(field.min)), Number(field.max));
      slider.setAttribute("aria-valuetext", field.value);
      changed(field, { isOver: false });
    });
    slider.addEventListener("change", () => moved(field.name, true));
    field.addEventListener("input", read);
    field.addEventListener("bnlens-set", read);
    read();
    field.after(slider);
  };

  const query = () => {
    const given = new URLSearchParams();
    fields().forEach((field) => {
      // Letters in a number are "" to a script; the server is to say what may stand there.
      if (!field.closest("[hidden]")) given.append(field.name, field.validity.badInput ? "?" : field.value);
    });
    return given;
  };

  // One entry of the history for one move of a knob; a move ends a second after the knob was let go.
  let move = { name: "", id: 0, until: 0 };
  const moved = (name, isOver) => {
    const now = Date.now();
    if (name !== move.name || now > move.until) move = { name, id: now };
    move.until = isOver ? now + 1000 : Infinity;
  };
  const remember = (place) => {
    if (place === location.href) return;
    const isSame = history.state?.move === move.id;
    history[isSame ? "replaceState" : "pushState"]({ move: move.id }, "", place);
  };

  let running = null;
  let timer = 0;
  const load = async (address, { push }) => {
    running?.abort();
    running = new AbortController();
    const mine = running;
    parts.forEach((part) => part.setAttribute("aria-busy", "true"));
    const slow = setTimeout(() => (status.textContent = "Computing…"), 400);
    try {
      const answer = await fetch(address, { signal: mine.signal });
      const text = await answer.text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const found = page.getElementById("results");
      if (!found) throw new Error("no results");
      const share = page.querySelector("a[data-share]");
      if (push && share) remember(new URL(share.getAttribute("href"), location.href).href);
      replace(page, push);
      settle();
      const headlines = [...results.querySelectorAll(".headlines > div")].slice(0, 3);
      status.textContent = headlines.length
        ? `Updated. ${headlines.map((item) => `${item.querySelector("dt").textContent}: ${item.querySelector("dd").textContent}`).join("; ")}.`
        : results.textContent.trim();
    } catch (error) {
      if (error.name === "AbortError") return;
      const problem = document.createElement("p");
      problem.className = "error";
      problem.textContent = "The server does not answer: is bnlens serve still running?";
      results.replaceChildren(problem);
      parts[1].replaceChildren();
      status.textContent = problem.textContent;
    } finally {
      clearTimeout(slow);
      if (running === mine) parts.forEach((part) => part.removeAttribute("aria-busy"));
    }
  };

  const replace = (page, keepFields) => {
    const knobs = page.querySelector("form.knobs");
    const details = [...document.querySelectorAll("#numbers details")].map((part) => [part.dataset.testid, part.open]);
    results.querySelectorAll(".plot").forEach((plot) => window.Plotly?.purge(plot));
    parts.forEach((part) => part.replaceChildren(...page.getElementById(part.id).childNodes));
    details.forEach(([name, isOpen]) => parts[1].querySelectorAll(`[data-testid="${name}"]`).forEach((part) => (part.open = isOpen)));
    window.bnlens.drawFigures(results);
    window.bnlens.addCopyButtons(parts[1]);
    form.querySelectorAll(".problem").forEach((problem) => problem.remove());
    fields().forEach((field) => {
      const fresh = knobs?.querySelector(`[name="${field.name}"]`);
      const problem = knobs?.querySelector(`[data-knob="${field.name}"] .problem`);
      field.toggleAttribute("aria-invalid", Boolean(problem));
      if (problem) {
        field.setAttribute("aria-invalid", "true");
        field.closest(".knob").append(problem);
        field.setAttribute("aria-describedby", fresh.getAttribute("aria-describedby"));
      }
      fresh?.querySelectorAll("option").forEach((option, place) => field.options[place] && (field.options[place].disabled = option.disabled));
      if (fresh && !keepFields) {
        field.value = fresh.value;
        field.dispatchEvent(new Event("bnlens-set"));
      }
    });
  };

  const changed = (field, { isOver = true, isAsked = false } = {}) => {
    // A report need not have the prediction that another has.
    if (field?.dataset.reference !== undefined) form.querySelectorAll("select:not([data-reference])").forEach((other) => (other.selectedIndex = 0));
    moved(field?.name ?? "", isOver);
    settle(field);
    clearTimeout(timer);
    if (isSlow() && !isAsked && field.validity.valid) {
      running?.abort();
      parts.forEach((part) => part.setAttribute("aria-busy", "true"));
      status.textContent = "Press Compute for the answer.";
      return;
    }
    timer = setTimeout(() => load(`${form.getAttribute("action")}?${query()}`, { push: true }), isOver ? 0 : 120);
  };

  fields().forEach((field) => {
    if (field.type === "number") addSlider(field);
    field.addEventListener("change", () => changed(field));
  });
  form.noValidate = true; // the page says what a field takes
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    changed(null, { isAsked: true });
  });
  document.querySelectorAll("a[data-example], a[data-testid=reset]").forEach((link) =>
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      history.pushState(null, "", link.href);
      load(link.href, { push: false });
      document.querySelector(".lab").scrollIntoView({ block: "start" });
    }),
  );
  window.addEventListener("popstate", () => load(location.href, { push: false }));
  settle();
  form.classList.add("live");
})();
