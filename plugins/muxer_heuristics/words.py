"""What the signals know: words, pairs of words and marks, each with what it adds to a signal."""

from collections.abc import Mapping

CODE, COMPLEXITY, SIMPLE = "code", "complexity", "simple"

# What moves a signal, in hundredths. 0.2 is the threshold of the shipped routes: a word that decides alone has 20 or
# more, a word that is also an everyday one has less and needs company. Every word counts once.
WORDS: Mapping[str, Mapping[int, str]] = {
    CODE: {
        20: """javascript typescript kotlin golang c++ c# php perl haskell lua matlab vba vimscript powershell
            bash sql mysql postgresql postgres sqlite mongodb html css json yaml regex numpy pandas pytorch
            tensorflow matplotlib django fastapi nodejs kubernetes kubectl dockerfile docker nginx pytest github
            refactor codebase pseudocode segfault nullpointerexception typeerror keyerror valueerror""",
        12: """python java js rust swift react angular vue flask spring linux git xml csv arduino unity excel
            api endpoint async stdout stdin runtime compiler compile recursion recursive debugger boolean tuple
            tuples div hashmap dict def elif const struct println printf localhost deploy sdk cli bug bugs
            programming implement algorithm función fonction funktion функцию""",
        8: """function functions code coding script program class classes method methods array arrays string
            strings list lists dictionary integer integers variable variables loop loops object objects library
            module package import return returns database query server backend frontend website webpage app file
            files folder input output parameter parameters argument arguments sort sorted parse null snippet
            syntax error exception install terminal command element elements data int str bool shell repository
            commit branch binary static void""",
        -10: """dress zip postal discount promo conduct morse penal snake snakes school teacher youtube
            scene story song dialogue blog essay speech linear continuous quadratic""",
        -30: "yoga workout fitness diet recipe",
        -20: """coffee heart kidney liver brain wedding movie film video podcast tv episode novel
            poem lyrics screenplay drama comedy""",
    },
    COMPLEXITY: {
        30: """analyze analyse analyzing analysing analysis explain explaining explanation debug debugging
            reasoning prove proof derive derivation evaluate evaluating compare comparing comparison optimize
            optimise justify critique deduce diagnose troubleshoot theorem explica analiza explicar analizar
            expliquer analyser erkläre analysiere vergleiche объясни проанализируй докажи сравни""",
        16: """why design architecture strategy implications consequences differences tradeoff tradeoffs discuss
            assess interpret investigate solve calculate probability clue clues puzzle riddle equation equations
            polynomial polynomials integral derivative matrix eigenvalue hypothetical hypothesis""",
        10: """find determine compute integers prime divisible digits sum smallest greatest triangle circle
            circles radius angle area perimeter sequence arithmetic geometric ratio distinct ways graph vertices
            coordinates tangent parallel percent velocity force random dice average sin cos tan circuit voltage
            resistance frequency pressure concentration""",
    },
    SIMPLE: {
        40: "who whom whose hello hi hey thanks thank bye define spell translate capital",
        30: "what when where which count meaning synonym antonym convert",
        -15: "how list give suggest recommend provide find choose plan make help why can could should would",
        -40: """about write writing create creating generate compose draft describe design develop outline
            summarize rewrite paraphrase imagine pretend analyze explain compare evaluate discuss prove escribe
            écris schreibe напиши написать придумай viết""",
        -30: """story stories poem essay song songs lyrics script dialogue article blog post email letter speech
            scene tweet caption captions review title slogan cuento poema песню стихотворение""",
        -60: "challenges factors effects differences ways tips advantages disadvantages benefits impact pros cons",
    },
}

# Two words near each other say more than both apart. A role of one word is named after it.
ROLES: Mapping[str, str] = {
    "make": """write create make build implement generate develop give show need want fix debug refactor add
        convert escribe écris schreibe напиши""",
    "end": "for about of to in on with that which where who",
    "software": """function functions code program programs algorithm regex query queries api endpoint app
        website webpage parser compiler script class method bot scraper plugin module component shader macro
        dockerfile test tests unittest game calculator server función fonction funktion функцию""",
    "amount": "many much old tall far long big high deep fast often",
    "offs": "off offs",
} | {word: word for word in ("how", "step", "what", "if", "trade", "pros", "cons", "select", "from", "where")}

# first role, second role, at most so many words later, the signal and its hundredths, half of them for each word
PAIRS = (
    ("make", "software", 6, CODE, 30),
    ("select", "from", 8, CODE, 14),
    ("from", "where", 4, CODE, 16),
    ("select", "where", 9, CODE, 16),
    ("step", "step", 2, COMPLEXITY, 26),
    ("trade", "offs", 1, COMPLEXITY, 26),
    ("pros", "cons", 2, COMPLEXITY, 26),
    ("what", "if", 1, COMPLEXITY, 26),
    ("how", "amount", 1, SIMPLE, 50),
)
# What is found as it stands, inside words too. So are words of Chinese, Japanese and Korean: no blanks part them.
MARKS: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    CODE: {
        60: ("```", "~~~", "#include", "<?php", "traceback (most recent", "#!/"),
        30: ("</", "select *", ");", "();", '"""', ">>>", "};", "::", "console.log"),
        20: ("代码", "代碼", "函数", "函數", "関数", "编程", "程序", "コード", "プログラ", "코드", "함수"),
        15: ("()", "];", "->", "=>", "==", "!=", "+=", "&&", "||", "/>", "/*", "[i]", "self.", ".py", ".js", "error:"),
    },
    COMPLEXITY: {
        32: ("分析", "解释", "解釋", "説明", "证明", "証明", "比较", "比較", "推理", "설명", "분석", "비교"),
        30: ("\\frac", "\\sum", "\\int", "\\sqrt", "\\[", "\\(", "∑", "∫", "√"),
        15: ("f(x)", "≤", "≥", "∈", "^2", "^3", "^n", "²"),
    },
    SIMPLE: {
        -40: ("写", "書いて", "寫", "故事", "小说", "小説", "诗", "詩", "介绍", "介紹", "紹介", "作成", "작성", "소설"),
    },
}

# A short message with one of these means the question before it: "and now in Java?", "fix it".
REFERENCES = """it this that these those them and now also again instead same above previous continue shorter longer why
    more another else fix rewrite retry"""
