// The knobs of the article's figures. Each state is a row of those attributes in which the states of a figure differ.
for (const figure of document.querySelectorAll("[data-figure]")) {
  const { columns, values, rows, captions } = JSON.parse(figure.querySelector("script").textContent);
  const marks = [...figure.querySelector("svg").children];
  const caption = figure.querySelector("figcaption");
  const knobs = [...figure.querySelectorAll("input, select")];

  const count = (knob) => (knob.options ? knob.options.length : Number(knob.max) + 1);
  const place = (knob) => (knob.options ? knob.selectedIndex : Number(knob.value));

  const show = () => {
    const state = knobs.reduce((before, knob) => before * count(knob) + place(knob), 0);
    rows[state].forEach((at, column) => {
      const [mark, attribute] = columns[column];
      if (attribute) marks[mark].setAttribute(attribute, values[at]);
      else marks[mark].textContent = values[at];
    });
    caption.textContent = captions[state];
    for (const knob of knobs) {
      if (knob.options) continue;
      const label = knob.dataset.labels.split("|")[place(knob)];
      knob.setAttribute("aria-valuetext", label);
      figure.querySelector(`output[for="${knob.id}"]`).textContent = label;
    }
  };

  for (const knob of knobs) knob.addEventListener("input", show);
  figure.querySelector(".turn").hidden = false;
  show(); // a browser may have kept the knobs where the reader had left them
}
