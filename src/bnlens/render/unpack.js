// Unpacks the script that draws the figures of this page, and runs it.
(async () => {
  // A frame that is being written holds back the event "load", for which whoever prints the page by a program waits.
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.hidden = true;
  frame.contentDocument.open();
  try {
    const packed = atob(document.getElementById("packed").textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const script = document.createElement("script");
    script.textContent = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    document.head.append(script);
  } finally {
    frame.contentDocument.close();
    frame.remove();
  }
})();
