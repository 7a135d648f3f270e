// How old the evidence is for whoever reads the page now; without scripts, how old it was when it was written.
for (const node of document.querySelectorAll("time[data-age]")) {
  const minutes = Math.floor((Date.now() - Date.parse(node.dateTime)) / 60000);
  const [size, unit] = minutes < 120 ? [1, "minute"] : minutes < 2880 ? [60, "hour"] : [1440, "day"];
  const count = Math.floor(minutes / size);
  if (minutes >= 0) {
    node.textContent = count < 1 ? "less than a minute" : `${count} ${unit}${count === 1 ? "" : "s"}`;
  }
}
