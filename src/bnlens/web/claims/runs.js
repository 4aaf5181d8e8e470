// Runs of claims: starts one in place, shows its progress, and puts the new verdict into the page when it has ended.
(() => {
  const bar = document.getElementById("run");
  if (!bar) return;
  const text = bar.querySelector(".run-text");
  const detail = bar.querySelector(".run-detail");
  const progress = bar.querySelector("progress");
  const cancel = bar.querySelector("form[data-cancel]");
  const home = bar.parentElement;
  let following = false;
  let last = null; // the run as it was told last

  // Beside the button that starts it, where it covers nothing; a page without the button has it on top.
  const place = (claim) => {
    const forms = [...document.querySelectorAll(`form[data-run="${claim}"]`)];
    const near = forms.find((form) => form === pressed) ?? forms.find((form) => form.offsetParent !== null);
    if (near && near.nextElementSibling !== bar) near.after(bar);
  };
  let pressed = null;
  bar.querySelector("[data-close]").addEventListener("click", () => {
    closed = last?.claim ?? "";
    bar.hidden = true;
  });
  let closed = null; // the claim whose run the reader does not want to see

  class Unreachable extends Error {}
  const reach = (...request) =>
    fetch(...request).catch(() => {
      throw new Unreachable("The server does not answer: is bnlens serve still running?");
    });

  const ask = async (address) => {
    const answer = await reach(address);
    const content = await answer.json();
    if (answer.status === 404 && last) return { ...last, status: "failed", errors: ["The server was started anew; finished jobs are kept."] };
    if (!answer.ok) throw new Error(content.error);
    return content;
  };

  const send = async (form) => {
    const answer = await reach(form.action, { method: "POST" });
    if (answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    throw new Error(page.querySelector('[data-testid="error"]')?.textContent ?? page.body.textContent);
  };

  const tell = (sentence, link) => {
    if (text.textContent === sentence) return; // spoken once
    const shown = document.createElement(link ? "a" : "span");
    if (link) shown.href = link;
    shown.textContent = sentence;
    text.replaceChildren(shown);
  };

  const problem = (error) => {
    bar.hidden = false;
    tell(error.message);
    progress.hidden = cancel.hidden = true;
  };

  const seconds = (count) => (count < 90 ? `${Math.max(1, Math.round(count))} s` : `${Math.round(count / 60)} min`);
  const show = (run) => {
    const running = run.status === "running";
    last = run;
    bar.hidden = closed === run.claim;
    place(run.claim);
    bar.toggleAttribute("data-running", running);
    progress.hidden = cancel.hidden = !running;
    cancel.querySelector("button").hidden = false;
    const { jobs: all, done, fraction } = run;
    if (all) progress.value = fraction;
    else progress.removeAttribute("value");
    const jobs = all ? `${done} of ${all} job${all === 1 ? "" : "s"}` : "planning";
    const left = fraction ? `, about ${seconds((run.seconds * (1 - fraction)) / fraction)} left` : "";
    detail.textContent = running ? `${jobs}${left}` : run.errors.join(" ") || `${jobs}, ${seconds(run.seconds)}`;
    if (running) tell(`${run.claim} is being computed`, run.page);
    document.querySelectorAll("form[data-run] button").forEach((button) => (button.disabled = running));
  };

  const ended = async (run) => {
    const words = { done: "was computed", failed: "could not be computed", cancelled: "was cancelled; finished jobs are kept" };
    const fresh = new DOMParser().parseFromString(await (await reach(location.href)).text(), "text/html");
    document.querySelectorAll("[data-live]").forEach((part) => {
      const found = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
      if (!found) return;
      if (part.contains(bar)) home.prepend(bar);
      const open = [...part.querySelectorAll("details")].map((each) => each.open);
      part.querySelectorAll(".plot").forEach((plot) => window.Plotly?.purge(plot));
      part.replaceChildren(...found.childNodes);
      const now = [...part.querySelectorAll("details")];
      if (now.length === open.length) now.forEach((each, index) => (each.open = open[index]));
      window.bnlens?.drawFigures?.(part);
    });
    place(run.claim);
    const verdict = fresh.querySelector(`[data-testid="verdict-${run.claim}"], [data-live=claim] .badge`)?.textContent;
    tell(`${run.claim} ${words[run.status]}${run.status === "done" && verdict ? `: ${verdict}` : ""}.`, run.page);
  };

  const follow = async () => {
    following = true;
    for (let ends = false; !ends; ) {
      try {
        const run = await ask("/api/runs/current");
        show(run);
        ends = run.status !== "running";
        if (ends) await ended(run);
      } catch (error) {
        problem(error); // a server that comes back is noticed, too
        ends = !(error instanceof Unreachable);
      }
      if (!ends) await new Promise((go) => setTimeout(go, 1000));
    }
    following = false;
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form !== cancel && !form.dataset.run) return;
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    if (form !== cancel) [pressed, closed] = [form, null];
    try {
      await send(form);
      if (!following) follow();
    } catch (error) {
      problem(error);
      button.disabled = false;
    }
    if (form === cancel) button.disabled = false;
  });

  if (bar.hasAttribute("data-running")) follow();
})();
