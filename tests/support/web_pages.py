# ruff: noqa: E501 - pages are long lines
"""Web pages as programs make them, with one picture each: what people save, in small."""

WIKIPEDIA = r"""<!DOCTYPE html><html class="client-nojs" lang="en" dir="ltr"><head><meta charset="UTF-8"><title>Kiln - Wikipedia</title>
<link rel="canonical" href="https://en.wikipedia.org/wiki/Kiln"><style>.mw{}</style></head><body class="skin-vector mediawiki">
<a class="mw-jump-link" href="#bodyContent">Jump to content</a>
<div class="vector-header-container"><header class="vector-header mw-header"><nav class="vector-main-menu-landmark"><ul><li><a href="/wiki/Main_Page">Main page</a></li><li><a>Contents</a></li></ul></nav><form role="search"><input type=search><button>Search</button></form></header></div>
<div class="mw-page-container"><main id="content" class="mw-body"><header class="mw-body-header vector-page-titlebar"><nav class="vector-toc-landmark"><div id="vector-toc"><ul><li>(Top)</li><li>Pronunciation</li></ul></div></nav><h1 id="firstHeading" class="firstHeading mw-first-heading"><span class="mw-page-title-main">Kiln</span></h1><div id="p-lang-btn" class="vector-dropdown mw-portlet mw-portlet-lang"><label>69 languages</label><ul><li><a>Deutsch</a></li></ul></div></header>
<div id="siteSub" class="noprint">From Wikipedia, the free encyclopedia</div>
<div id="mw-content-text" class="mw-body-content"><div class="mw-content-ltr mw-parser-output" lang="en">
<div role="note" class="hatnote navigation-not-searchable">For other uses, see <a>Kiln (disambiguation)</a>.</div>
<style data-mw-deduplicate="x">.infobox{}</style>
<table class="infobox"><caption class="infobox-title">Kiln</caption><tbody><tr><td colspan="2" class="infobox-image"><a href="/wiki/File:Kiln.jpg"><img alt="A brick kiln" src="//upload.wikimedia.org/kiln.jpg" width="220" height="165" srcset="//upload.wikimedia.org/kiln2x.jpg 2x"></a><div class="infobox-caption">A kiln in <b>Kent</b></div></td></tr><tr><th scope="row">Temperature</th><td>1,300&nbsp;°C<sup class="reference"><a href="#cite_note-1">[1]</a></sup></td></tr><tr><th>Fuel</th><td><div class="plainlist"><ul><li>Wood</li><li>Gas</li></ul></div></td></tr></tbody></table>
<p>A <b>kiln</b> is a thermally insulated <a href="/wiki/Chamber">chamber</a>, a type of oven.<sup id="cite_ref-1" class="reference"><a href="#cite_note-1"><span class="cite-bracket">[</span>1<span class="cite-bracket">]</span></a></sup> Area 10<sup>2</sup> m. Formula <span class="mwe-math-element"><span class="mwe-math-mathml-inline mwe-math-mathml-a11y" style="display: none;"><math alttext="{\displaystyle E=mc^{2}}"><semantics><mi>E</mi><annotation encoding="application/x-tex">{\displaystyle E=mc^{2}}</annotation></semantics></math></span><img src="https://wikimedia.org/api/rest_v1/media/math/render/svg/9f" class="mwe-math-fallback-image-inline" aria-hidden="true" alt="{\displaystyle E=mc^{2}}"></span>.</p>
<meta property="mw:PageProp/toc">
<div class="mw-heading mw-heading2"><h2 id="Uses">Uses</h2><span class="mw-editsection"><span class="mw-editsection-bracket">[</span><a href="/w/index.php?action=edit">edit</a><span>]</span></span></div>
<figure class="mw-default-size" typeof="mw:File/Thumb"><a href="/wiki/File:Big.jpg"><img src="img/vase.jpg" width="250" height="187" class="mw-file-element"></a><figcaption>Charcoal kilns, <i>California</i></figcaption></figure>
<ul><li>Annealing<ul><li>Glass</li></ul></li><li>Firing of <a>ceramics</a></li></ul>
<table class="wikitable"><caption>Cones</caption><tbody><tr><th>Cone</th><th colspan="2">Range</th></tr><tr><th>04</th><td>1060</td><td rowspan="2">low</td></tr><tr><th>06</th><td>1000</td></tr></tbody></table>
<dl><dt>Sawdust kiln</dt><dd>A simple kiln.</dd></dl>
<div class="mw-heading mw-heading3"><h3 id="Ceramics">Ceramics</h3></div><p>Clay is heated.</p>
<h2><span class="mw-headline" id="References">References</span><span class="mw-editsection">[edit]</span></h2>
<div class="reflist"><ol class="references"><li id="cite_note-1"><span class="mw-cite-backlink"><b><a href="#cite_ref-1">^</a></b></span> <span class="reference-text">Smith, J. (1990). <i>Kilns</i>.</span></li></ol></div>
<div role="navigation" class="navbox"><table class="nowraplinks"><tr><th>Ceramics topics</th></tr></table></div>
</div></div><div id="catlinks" class="catlinks">Categories: Kilns</div></main></div>
<footer id="footer" class="mw-footer"><ul><li>This page was last edited on 1 May</li></ul></footer></body></html>
"""

WORDPRESS = r"""<!DOCTYPE html><html lang="en-US"><head><meta charset="utf-8"><title>Firing your first bisque – Clay &amp; Fire</title><meta property="og:title" content="Firing your first bisque"><meta property="og:site_name" content="Clay &amp; Fire"><meta property="article:published_time" content="2023-04-01T10:00:00+00:00"><link rel="canonical" href="https://clay.example/first-bisque/"><script type="application/ld+json">{"@context":"https://schema.org","@graph":[{"@type":"Article","author":{"@type":"Person","name":"Ada Potter"},"datePublished":"2023-04-01"}]}</script></head>
<body class="post-template-default single has-sidebar">
<a class="skip-link screen-reader-text" href="#content">Skip to content</a>
<div id="page" class="site"><header id="masthead" class="site-header"><div class="site-branding"><p class="site-title"><a href="/">Clay &amp; Fire</a></p><p class="site-description">Just another pottery site</p></div><nav id="site-navigation" class="main-navigation"><button class="menu-toggle">Menu</button><ul><li><a href="/about">About</a></li><li><a href="/shop">Shop</a></li></ul></nav></header>
<div id="content" class="site-content"><div id="primary" class="content-area"><main id="main" class="site-main"><article id="post-12" class="post hentry"><header class="entry-header"><h1 class="entry-title">Firing your first bisque</h1><div class="entry-meta"><span class="posted-on">Posted on <time datetime="2023-04-01">April 1, 2023</time></span><span class="byline"> by <a>Ada Potter</a></span></div></header>
<div class="entry-content"><p>Load the kiln <em>loos</em>ely. It takes 8&#8211;10&nbsp;hours.</p>
<figure class="wp-block-image"><img decoding="async" src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7" data-src="img/cone.png" alt="Cones" class="lazyload"><noscript><img src="img/cone.png" alt="Cones"></noscript><figcaption>Cones after firing.</figcaption></figure>
<h2 class="wp-block-heading">What you need</h2><ul class="wp-block-list"><li>Gloves</li><li>Goggles</li></ul>
<div class="sharedaddy sd-sharing-enabled"><h3 class="sd-title">Share this:</h3><ul><li><a>Twitter</a></li></ul></div><div id="jp-relatedposts" class="jp-relatedposts"><h3>Related</h3></div></div>
<footer class="entry-footer"><span class="cat-links">Posted in <a>Firing</a></span></footer></article>
<nav class="navigation post-navigation"><h2 class="screen-reader-text">Post navigation</h2><a>Previous post</a></nav>
<div id="comments" class="comments-area"><h2 class="comments-title">One thought on “Firing”</h2><ol class="comment-list"><li><article><p>Great article, thanks!</p></article></li></ol><div id="respond" class="comment-respond"><h3>Leave a Reply</h3><form><p>Your email address will not be published.</p><textarea></textarea></form></div></div></main></div>
<aside id="secondary" class="widget-area"><section class="widget"><h2>Recent Posts</h2><ul><li><a>Glazes</a></li></ul></section></aside></div>
<footer id="colophon" class="site-footer"><div class="site-info">Proudly powered by <a>WordPress</a></div></footer></div>
<div id="cookie-law-info-bar"><span>This website uses cookies to improve your experience. <a role="button">Accept</a></span></div></body></html>
"""

SPHINX = r"""<!DOCTYPE html><html class="writer-html5" lang="en"><head><meta charset="utf-8" /><title>Loading &mdash; Kiln 2.0 documentation</title></head><body class="wy-body-for-nav"><div class="wy-grid-for-nav"><nav data-toggle="wy-nav-shift" class="wy-nav-side"><div class="wy-side-scroll"><div class="wy-side-nav-search"><a href="index.html" class="icon icon-home"> Kiln</a><div role="search"><form class="wy-form"><input type="text" placeholder="Search docs" /></form></div></div><div class="wy-menu wy-menu-vertical"><ul><li><a>Install</a></li></ul></div></div></nav>
<section data-toggle="wy-nav-shift" class="wy-nav-content-wrap"><nav class="wy-nav-top"><a href="index.html">Kiln</a></nav><div class="wy-nav-content"><div class="rst-content"><div role="navigation" aria-label="Page navigation"><ul class="wy-breadcrumbs"><li><a class="icon icon-home"></a></li><li class="breadcrumb-item active">Loading</li><li class="wy-breadcrumbs-aside"><a href="_sources/loading.rst.txt"> View page source</a></li></ul><hr/></div>
<div role="main" class="document" itemscope="itemscope"><div itemprop="articleBody"><section id="loading"><h1>Loading<a class="headerlink" href="#loading" title="Link to this heading"></a></h1><p>Use <code class="docutils literal notranslate"><span class="pre">kiln.load()</span></code> first.</p>
<section id="example"><h2>Example<a class="headerlink" href="#example">¶</a></h2><div class="highlight-python notranslate"><div class="highlight"><pre><span></span><span class="k">def</span> <span class="nf">load</span><span class="p">():</span>
    <span class="k">return</span> <span class="mi">1</span>
</pre></div></div>
<dl class="py function"><dt class="sig sig-object py" id="kiln.load"><span class="sig-prename">kiln.</span><span class="sig-name">load</span><span class="sig-paren">(</span><em class="sig-param">path</em><span class="sig-paren">)</span><a class="reference internal" href="_modules"><span class="viewcode-link"><span class="pre">[source]</span></span></a><a class="headerlink" href="#kiln.load">¶</a></dt><dd><p>Load a programme.</p><dl class="field-list"><dt class="field-odd">Parameters<span class="colon">:</span></dt><dd class="field-odd"><p><strong>path</strong> – the file</p></dd></dl></dd></dl>
<div class="admonition note"><p class="admonition-title">Note</p><p>Wear gloves.</p></div>
<section id="cookies"><h3>Cookies<a class="headerlink" href="#cookies">¶</a></h3><p>The server sets one cookie.</p></section></section></section></div></div><footer><div class="rst-footer-buttons" role="navigation"><a>Previous</a><a>Next</a></div><hr/><div role="contentinfo"><p>&#169; Copyright 2024, Kiln.</p></div></footer></div></div></section></div></body></html>
"""

SHOP = r"""<!DOCTYPE html>
<!-- saved from url=(0034)https://shop.example/guide?id=3#top -->
<html lang="de"><head><meta http-equiv="Content-Type" content="text/html; charset=UTF-8"><title>Kiln guide | Shop</title></head><body>
<div class="topbar"><a href="x">Login</a> <a href="y">Basket (0)</a></div>
<ul class="menu"><li><a>Kilns</a></li><li><a>Clay</a></li><li><a>Tools</a></li></ul>
<div class="product"><h1>Kiln guide</h1><div class="gallery"><a href="https://shop.example/big.jpg"><img src="./Kiln guide_files/kiln%20one.jpg" alt="Front of the kiln"></a></div><div class="price">€ 1.250,00</div><div>In stock</div>
<div class="tabs"><ul class="tab-links"><li><a>Description</a></li><li><a>Specs</a></li></ul><div class="tab">A kiln for beginners, simple and robust, with two shelves.</div><div class="tab" style="display:none">Weight 40 kg</div></div>
<table><tr><td>Volume</td><td>60 l</td></tr><tr><td>Power</td><td>3 kW</td></tr></table><img src="./Kiln guide_files/pixel.gif" width=1 height=1><form><label>Qty</label><input><button>Add to cart</button></form></div>
<div id="footer">© 2024 Shop. <a>Imprint</a></div></body></html>
"""

WORD = r"""<html xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office" xmlns="http://www.w3.org/TR/REC-html40"><head><meta http-equiv=Content-Type content="text/html; charset=windows-1252"><meta name=Generator content="Microsoft Word 15"><title>Condition report</title><!--[if !mso]><style>v\:* {behavior:url(#default#VML);}</style><![endif]--><style><!-- p.MsoNormal {margin:0} --></style></head>
<body lang=EN-GB style='tab-interval:36.0pt'><div class=WordSection1>
<p class=MsoTitle><span lang=EN-GB>Condition report<o:p></o:p></span></p>
<p class=MsoToc1><a href="#_Toc1">Condition<span style='display:none;mso-hide:screen'>.</span> 1</a></p>
<h1><a name="_Toc1"></a><span
style='mso-list:Ignore'>1.<span style='font:7.0pt "Times New Roman"'>&nbsp;&nbsp; </span></span>Condition<o:p></o:p></h1>
<p class=MsoNormal>Café au lait – two cracks, 3 cm.<o:p></o:p></p>
<p class=MsoListParagraphCxSpFirst style='text-indent:-18.0pt;mso-list:l0 level1 lfo1'><![if !supportLists]><span style='font-family:Symbol'><span style='mso-list:Ignore'>·<span style='font:7.0pt "Times New Roman"'>&nbsp;&nbsp;&nbsp; </span></span></span><![endif]>Rim chipped<o:p></o:p></p>
<p class=MsoListParagraphCxSpLast style='mso-list:l0 level2 lfo1'><![if !supportLists]><span style='mso-list:Ignore'>o<span>&nbsp; </span></span><![endif]>Base sound<o:p></o:p></p>
<p class=MsoNormal><!--[if gte vml 1]><v:shape><v:imagedata src="report_files/image001.png" o:title="x"/></v:shape><![endif]--><![if !vml]><img width=302 height=201 src="img/cone.png" v:shapes="_x0000_i1025"><![endif]></p>
<p class=MsoCaption>Figure 1: the rim</p>
<table class=MsoTableGrid border=1><tr><td width=100><p class=MsoNormal><b>Part</b></p></td><td><p class=MsoNormal><b>State</b></p></td></tr><tr><td><p class=MsoNormal>Rim</p></td><td><p class=MsoNormal>chipped</p><p class=MsoNormal>worn</p></td></tr></table>
<h2>Treatment</h2><p class=MsoNormal>Glue.</p></div></body></html>
"""
