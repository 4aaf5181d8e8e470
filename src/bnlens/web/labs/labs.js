// Knobs that answer in place, with sliders; without scripts the form does the same.
(() => {
  const form = document.querySelector("form.knobs");
  const results = document.getElementById("results");
  if (!form || !results || form.querySelector("fieldset:disabled")) return;
  const status = document.querySelector('[role="status"]');
  const fields = () => [...form.querySelectorAll("[name]")];

  const settle = () => {
    const values = Object.fromEntries(fields().map((field) => [field.name, field.value]));
    form.querySelectorAll("[data-when]").forEach((knob) => {
      const wanted = JSON.parse(knob.dataset.when);
      knob.hidden = !Object.entries(wanted).every(([name, options]) => options.includes(values[name]));
    });
    form.querySelectorAll("fieldset").forEach((group) => (group.hidden = !group.querySelector(".knob:not([hidden])")));
  };

  const addSlider = (field) => {
    const [low, high] = [Number(field.min), Number(field.max)];
    const log = field.dataset.log === "true";
    const whole = field.step === "1";
    const [to, from] = log ? [Math.log, Math.exp] : [(x) => x, (x) => x];
    const slider = document.createElement("input");
    slider.type = "range";
    slider.min = to(low);
    slider.max = to(high);
    slider.step = log ? (to(high) - to(low)) / 200 : whole ? 1 : Number(field.dataset.step ?? (high - low) / 200);
    slider.setAttribute("aria-label", `${field.labels[0].textContent}, slider`);
    const read = () => {
      if (field.value !== "") slider.value = to(Math.min(Math.max(Number(field.value), low), high));
      slider.setAttribute("aria-valuetext", field.value || field.placeholder);
    };
    slider.addEventListener("input", () => {
      const value = Math.min(Math.max(from(Number(slider.value)), low), high);
      field.value = whole ? Math.round(value) : Number(log ? value.toPrecision(2) : value.toFixed(6));
      slider.setAttribute("aria-valuetext", field.value);
      changed(field, 120);
    });
    field.addEventListener("input", read);
    field.addEventListener("bnlens-set", read);
    read();
    field.after(slider);
  };

  const query = () => {
    const given = new URLSearchParams();
    fields().forEach((field) => {
      if (!field.closest("[hidden]") && field.value !== (field.dataset.default ?? null)) given.append(field.name, field.value);
    });
    return given;
  };

  let running = null;
  let timer = 0;
  const load = async (address, { push }) => {
    running?.abort();
    running = new AbortController();
    const mine = running;
    results.setAttribute("aria-busy", "true");
    const slow = setTimeout(() => (status.textContent = "Computing…"), 400);
    try {
      const answer = await fetch(address, { signal: mine.signal });
      const text = await answer.text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const found = page.getElementById("results");
      if (!found) throw new Error("no results");
      const share = found.querySelector("a[data-share]");
      const place = answer.redirected ? answer.url : new URL(share ? share.getAttribute("href") : address, location.href);
      if (push) history.pushState(null, "", place);
      replace(found, page.querySelector("form.knobs"), push);
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
      status.textContent = problem.textContent;
    } finally {
      clearTimeout(slow);
      if (running === mine) results.removeAttribute("aria-busy");
    }
  };

  const replace = (found, knobs, keepFields) => {
    const open = new Set([...results.querySelectorAll("details[open]")].map((part) => part.dataset.testid));
    results.querySelectorAll(".plot").forEach((plot) => window.Plotly?.purge(plot));
    results.replaceChildren(...found.childNodes);
    results.querySelectorAll("details").forEach((part) => (part.open = open.has(part.dataset.testid)));
    window.bnlens?.drawFigures(results);
    window.bnlens.addCopyButtons(results);
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
      if (fresh && !keepFields) {
        field.value = fresh.value;
        field.dispatchEvent(new Event("bnlens-set"));
      }
    });
  };

  const changed = (field, delay) => {
    settle();
    clearTimeout(timer);
    timer = setTimeout(() => load(`${form.getAttribute("action")}?${query()}`, { push: true }), delay);
  };

  fields().forEach((field) => {
    if (field.type === "number") addSlider(field);
    field.addEventListener("change", () => changed(field, 0));
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    changed(null, 0);
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
