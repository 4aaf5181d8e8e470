// Runs of claims: starts one in place, shows its progress, and puts the new verdict into the page when it has ended.
(() => {
  const bar = document.getElementById("run");
  const home = bar.parentElement;
  const cancel = bar.querySelector("form[data-cancel]");
  let following = false;
  let pressed = null; // the form that started the run
  let closed = false; // whether the reader does not want to see it

  const get = async (address, options) => {
    const answer = await fetch(address, options).catch(() => {
      throw new Error("The server does not answer: is bnlens serve still running?");
    });
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  };

  // Beside the button that starts it, where it covers nothing; a page without the button has it on top.
  const place = (claim) => {
    const forms = [...document.querySelectorAll(`form[data-run="${claim}"]`)];
    const near = forms.find((form) => form === pressed) ?? forms.find((form) => form.offsetParent !== null);
    if (near && near.nextElementSibling !== bar) near.after(bar);
  };

  const tell = (words, detail = "", running = false) => {
    const text = bar.querySelector(".run-text");
    if (text.textContent !== (words.textContent ?? words)) text.replaceChildren(words); // spoken once
    bar.querySelector(".run-detail").textContent = detail;
    bar.querySelector("progress").hidden = cancel.hidden = !running;
    bar.hidden = closed;
  };

  const show = (fresh) => {
    const running = fresh.hasAttribute("data-running");
    bar.querySelector("progress").replaceWith(fresh.querySelector("progress"));
    tell(fresh.querySelector(".run-text").firstChild ?? "", fresh.querySelector(".run-detail").textContent, running);
    document.querySelectorAll("form[data-run] button").forEach((button) => (button.disabled = running));
    place(fresh.dataset.claim);
    return running;
  };

  const renew = async () => {
    const fresh = await get(location.href);
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
  };

  const follow = async () => {
    following = true;
    for (let running = true; running; ) {
      try {
        const fresh = (await get("/runs/bar")).getElementById("run");
        running = show(fresh);
        if (!running) await renew();
        place(fresh.dataset.claim);
      } catch (error) {
        running = true; // a server that comes back is noticed, too
        tell(error.message);
      }
      if (running) await new Promise((go) => setTimeout(go, 1000));
    }
    following = false;
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form !== cancel && !form.dataset.run) return;
    event.preventDefault();
    if (form !== cancel) [pressed, closed] = [form, false];
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const refusal = (await get(form.action, { method: "POST" })).querySelector('[data-testid="error"]');
      if (refusal) throw new Error(refusal.textContent);
      if (!following) follow();
    } catch (error) {
      tell(error.message);
      button.disabled = false;
    }
    if (form === cancel) button.disabled = false;
  });
  bar.querySelector("[data-close]").addEventListener("click", () => (bar.hidden = closed = true));
  if (bar.hasAttribute("data-running")) follow();
})();
