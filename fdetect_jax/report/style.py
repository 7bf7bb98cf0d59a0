"""The report's style sheet. Colours of series come from ``plots.PALETTE`` as CSS variables."""

CSS = """
:root{--page:#f6f7f9;--card:#fff;--good:#0b7a53;--bad:#b42318;--warn:#8a5a00;color-scheme:light dark}
@media (prefers-color-scheme: dark){:root{--page:#10141a;--card:#191f28;
  --good:#4fd6a2;--bad:#ff8b80;--warn:#f0c05a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.5;
  font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;
  font-variant-numeric:tabular-nums}
main{max-width:1120px;margin:0 auto;padding:clamp(16px,4vw,48px) clamp(14px,3vw,32px) 64px}
header{margin-bottom:8px}
h1{font-size:clamp(1.6rem,4.5vw,2.4rem);line-height:1.15;letter-spacing:-.02em;margin:0 0 8px;
  overflow-wrap:anywhere}
header p{font-size:1.08rem;color:var(--muted);margin:0 0 14px;max-width:70ch;overflow-wrap:anywhere}
h2{font-size:1.2rem;letter-spacing:-.01em;margin:44px 0 12px}
section p{max-width:78ch;margin:0 0 14px}
.note{color:var(--muted);font-size:.84rem;margin-top:10px}
ul{list-style:none;margin:0;padding:0}
.facts{display:flex;flex-wrap:wrap;gap:8px}
.facts li{border:1px solid var(--grid);background:var(--card);border-radius:99px;
  padding:3px 12px;font-size:.86rem}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--grid);border-radius:12px}
table{border-collapse:collapse;width:100%;font-size:.94rem}
th,td{text-align:left;padding:10px 14px;border-top:1px solid var(--grid)}
tr:first-child>*{border-top:0}
.verdicts th[scope=col]{color:var(--muted);font-weight:500;font-size:.8rem;white-space:nowrap}
.verdicts th[scope=row]{font-weight:600;min-width:9em;overflow-wrap:break-word}
.verdicts td{white-space:nowrap}
.verdicts :is(td,th):nth-child(n+4){text-align:right}
.auc{min-width:9.5em}
.auc span{font-weight:600;margin-right:10px}
.auc i{display:inline-block;width:4.5em;height:6px;border-radius:3px;vertical-align:middle;
  background:linear-gradient(90deg,var(--s1) calc(var(--share)*100%),var(--grid) 0)}
.badge{font-size:.78rem;font-weight:600;border-radius:99px;padding:2px 10px;border:1px solid;color:var(--c);
  background:color-mix(in srgb,var(--c) 10%,transparent)}
.strong{--c:var(--good)}.fair{--c:var(--s1)}.weak{--c:var(--warn)}.chance{--c:var(--muted)}.inverted{--c:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,160px),1fr));gap:12px;margin:0}
.tiles div{background:var(--card);border:1px solid var(--grid);border-radius:12px;padding:12px 16px}
dt{color:var(--muted);font-size:.82rem;overflow-wrap:anywhere}
dd{margin:2px 0 0;font-size:1.5rem;font-weight:600;letter-spacing:-.01em}
dd small{font-size:.9rem;font-weight:400;color:var(--muted)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,310px),1fr));gap:14px}
figure{margin:0;min-width:0}
.charts figure{background:var(--card);border:1px solid var(--grid);border-radius:12px;padding:12px 14px;
  max-width:560px}
.charts figcaption{font-weight:600;font-size:.92rem;margin-bottom:6px;overflow-wrap:anywhere}
.plot{display:block;width:100%;height:auto;overflow:visible}
.plot *{stroke-linejoin:round}
.plot text{font-family:inherit!important}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.82rem;color:var(--muted);margin-top:6px}
.legend li{overflow-wrap:anywhere}
.legend i{display:inline-block;width:18px;border-top:3px solid var(--c);
  vertical-align:middle;margin-right:6px}
.legend .dashed{border-top-style:dashed;border-top-width:2px}
.pictures{display:grid;grid-template-columns:repeat(var(--columns),minmax(0,256px));
  gap:10px clamp(4px,1.2vw,14px)}
.name{font-weight:600;font-size:clamp(.68rem,2.4vw,.9rem);position:sticky;top:0;
  background:var(--page);padding:6px 0;z-index:1;overflow-wrap:anywhere}
.pictures img{display:block;width:100%;border-radius:8px}
.pictures figcaption{font-size:clamp(.68rem,2.4vw,.86rem);padding-top:4px;color:var(--c);font-weight:600}
.pictures figcaption.real{--c:var(--real)}.pictures figcaption.fake{--c:var(--fake)}
.pictures small{color:var(--muted);font-weight:400;font-size:inherit}
.pictures figcaption i{display:block;height:3px;border-radius:2px;margin-top:2px;
  background:linear-gradient(90deg,var(--c) calc(var(--share)*100%),var(--grid) 0)}
details{margin-top:44px}
summary{font-size:1.2rem;font-weight:700;letter-spacing:-.01em;cursor:pointer;margin-bottom:12px}
details table{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.82rem}
details :is(th,td){padding:5px 14px;font-weight:400;vertical-align:top}
details th{color:var(--muted);white-space:nowrap;width:1%}
details td{overflow-wrap:anywhere}
@media (max-width:560px){.pictures small,.auc i{display:none}.auc{min-width:0}.auc span{margin:0}
  th,td{padding:8px 10px}table{font-size:.86rem}.verdicts th[scope=row]{min-width:7em}}
@media print{body{background:#fff}.charts figure,.pictures figure{break-inside:avoid}}
"""
