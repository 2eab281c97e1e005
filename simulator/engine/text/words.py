"""The words that the built-in tokenizer knows as one token each.

Ids follow the order here, so words are only ever added at the end. Words of up to three letters need no
entry: every combination of two or three letters has an id of its own.
"""

from __future__ import annotations

_COMMON = """
that with this from have they were been their which would there about what when will more other some time
could into than only most over such them these then first also after made many must before back through
years where much your well down should because each just those people state good very make world still
between life being under three never same another know while last might great year since against take used
during long states himself place american however home small found thought went part once general high upon
school every does until children always something fact almost less though hand enough system better number
head government nothing night both social going look called asked later knew point next program city
business give group toward young days room president side several present national possible rather second
face among form often things looking early white case become need large four within felt along best church
ever least power development light thing seemed family interest want members mind country area others done
turned although open service certain kind problem began different door thus help sense means whole matter
five above tell human company sure water name example question action history result society experience
death information across study either today body taken itself keep feel behind cost quite move play paper
believe together already week idea words word public course office political money doing level whether real
line morning moment table book books read reading write writing written letter letters story stories
language languages text texts sentence sentences token tokens answer answers reply replies message messages
model models server servers request requests response responses prompt prompts user users assistant client
gateway cluster services network latency traffic weather sunny cloudy raining temperature degrees review
reviews reviewer reviewers think comedy error errors tragedy theatre actor actors author authors please
thank thanks welcome hello sorry happy wonderful beautiful amazing interesting important simple complex easy
hard fast slow quick quickly slowly larger largest smaller smallest greater greatest machine learning
computer computers software hardware engine engines memory cache block blocks batch batches queue scheduler
schedule policy policies endpoint endpoints route routes router routing balance balanced load loads loaded
unload adapter adapters weight weights layer layers attention transformer decode decoding prefill inference
training train trained data dataset datasets file files folder directory path paths names value values keys
list lists tables string strings numbers integer float boolean true false none null function functions class
classes method methods object objects return returns import export define print input output warning
exception raise catch throw test tests testing tested check checks start started starting stop stopped
stopping running waiting finished complete completed completion completions opened close closed send sent
receive received connect connected connection connections address port host space namespace container
containers image images version versions release released deploy deployment deployments configuration config
setting settings option options flag flags default defaults parameter parameters argument arguments variable
variables constant constants type types field fields header headers content contents status code codes
success failure failed failing retry retries timeout timeouts limit limits rate rates count counts counter
counters gauge histogram metric metrics average median percentile minimum maximum total totals difference
change changes changed update updates updated create created delete deleted remove removed added insert
replace replaced search find filter filters sort sorted order orders ordered third fourth fifth final
finally previous current january february march april june july august september october november december
monday tuesday wednesday thursday friday saturday sunday afternoon evening tomorrow yesterday month hour
hours minute minutes seconds century season spring summer autumn winter north south east west river rivers
mountain mountains forest forests ocean island islands garden gardens flower flowers tree trees animal
animals horse bird birds fish dogs cats food bread coffee wine milk fruit apple apples kitchen house houses
street streets road roads bridge trains station airport travel journey visit mother father brother sister
daughter parents child friend friends neighbor teacher teachers student students doctor doctors lawyer
engineer engineers scientist scientists artist artists writer writers king queen prince black green blue
yellow brown colour color dark bright cold warm heat fire wind rain snow storm cloud clouds moon star stars
earth planet science research theory theories experiment experiments evidence results analysis process
processes processing product products production project projects plan plans planning design designs
designed build building buildings built construct construction material materials market markets price
prices costs trade customer customers companies industry industries worker workers work working works worked
employee manager management leader leaders leadership team teams member laws court police army military
peace party election vote votes citizen citizens rights freedom justice education knowledge understand
understanding understood explain explained explanation describe described description discuss discussed
discussion argue consider considered considering suggest suggested suggestion recommend recommended provide
provided provides providing support supported supports supporting include included includes including
contain contains contained require required requires requirement requirements allow allowed allows enable
enabled disable disabled improve improved improvement increase increased decrease reduce reduced measure
measured measurement measurements compare compared comparison similar likely unlikely impossible probably
perhaps maybe certainly clearly exactly especially particularly usually sometimes rarely again alone away
around inside outside therefore unless whereas moreover furthermore instead otherwise anything everything
anyone everyone someone nobody somewhere everywhere nowhere became becoming begin beginning bring brought
carry carried choose chosen come coming continue continued cover covered decide decided decision depend
depends develop developed draw drawn drive driven enjoy enjoyed enter entered expect expected fall fallen
feeling fight follow followed following forget forgotten gave given grow growing grown happen happened
happens hear heard held hold holding hope hoped keeping kept kill knowing known lead leading learn learned
leave leaving left listen live lived lives living looked lose lost love loved making mean meaning meant meet
meeting moved moving needed needs offer offered pass passed played playing points prepare prepared produce
produced pull push raised reach reached realize remain remained remember represent rise risen save saved
says seem seems seen sell serve served shall shape share shared short show showed showing shown sing sleep
sold speak speaking spend spent spoke stand standing stay stayed step steps stood strong talk talking teach
teaching telling thinking tired touch tried trouble trust turn turning twenty unit units useful using view
walk walked walking wanted wants wash watch watched wear whose wide wife wild window wish woman women wonder
wood worth wrong yourself themselves ourselves herself myself ahead fellow infinite jest alas poor lifetime
shipwreck kingdom merchant twins abbess voyage harbor harbour according account achieve activity actually
administration admit adult affect agency agent agree agreement ability able accept access accident available
avoid award aware background ball bank base based basic basis beat beauty becomes begins behavior belief
benefit benefits beyond billion board boat born bottom branch break brief broad broken budget burn busy call
camera campaign cancer candidate capital card care career careful carefully cause causes center central
challenge chance chapter character characters charge choice circle civil claim clean clear climate clinic
clock coach coast collect collection college comfort common community concept concern condition conditions
conference confidence conflict congress consumer contact context control conversation copy corner correct
council couple courage creation creative credit crime crisis critical culture cultural curious cycle damage
dance danger daily deal debate deep degree democracy demand detail details determine device devices dinner
direct direction director disease distance distribution division document documents dollar double doubt
dozen dream dreams dress drink drop drug dust duty eager earlier earn ease economic economy edge editor
effect effective effects efficient effort efforts eight elections electric element elements eleven else
emotion empty encourage energy enormous entire environment equal equipment escape essay essential establish
event events eventually exact exercise exist existing expert experts express expression eyes factor factors
fail fair faith familiar famous farm farmer fashion favor favorite fear feature features federal female
figure figures film financial fine finger finish firm flat flight floor flow focus force forces foreign
forever formal former forward foundation frame free fresh front full fund funny further future gain game
games gather gentle girl glad glass global goal goals gold gone grand grass ground guard guess guest guide
hair half hall hang happiness hate headed health healthy heart heavy height hero hidden highly hill
historical holiday honest honor hospital hotel huge hundred hunger hurt husband ideal identify illness
imagine immediate impact importance impressive incident income independent indicate individual influence
initial inner instance instruction instructions instrument intelligence intelligent interview investment
involve involved issue issues item items join joke judge jump junior kids knife labor lack lady lake land
landscape late laugh launch lawn leaf league lesson library lift lights linear lines link links liquid
literature little local location lock logic lonely loud lower luck lunch magazine magic mail main maintain
major majority male manner manual mark mass master match math mechanism media medical medicine mental
mention metal middle mile miles million minister minor mirror miss mission mistake mixed mixture mobile
modern modest museum music musical mystery narrow nation native natural nature near nearby nearly neck
negative neither nerve news newspaper nice nine noise normal northern nose note notes notice novel nuclear
nurse obvious occur officer official older online onto operation opinion opportunity opposite oral origin
original ought outcome outer oxygen pace pack package page pages pain paint painting pair pale panel parent
park particle particular partly partner past patient patients pattern patterns pause payment peak peer
pencil perfect perform performance period permanent person personal phase philosophy phone photo phrase
physical physics piano pick picture pictures piece pieces pilot pipe pity plain plane plant plants plastic
plate platform player players pleasant pleasure plenty poem poet poetry poetic pool popular population
position positive post potential powerful practical practice praise pray precise prefer presence pressure
pretty prevent pride primary principle principles prior prison private prize procedure professional
professor profit progress promise promote proof proper property proposal protect proud prove pure purpose
quality quarter quiet race radio range rapid rare ready reality reason reasonable reasons recent recently
recognize record records recover reflect reform refuse regard region regular relate related relation
relations relationship relative relax relevant relief religion religious rely repeat report reports republic
reputation resource resources respect rest restaurant rich ride right ring risk risks rock role roles roof
root rough round rule rules rural safe safety sail sale salt sample sand satisfied scale scene scholar score
screen seat secret section sector secure security seek select senior sensitive separate serious session
seven shadow shake sharp ship shirt shock shoe shop shore shot shoulder shout shut sick sight sign signal
signals silence silent silver site situation size skill skills skin slight slip smart smile smoke smooth
soft soil soldier solid solution solve song songs soon soul sound source sources southern speaker special
specific speech speed spirit split sport sports spot spread square staff stage standard standards statement
steady steel stick stock stone store storage strange strategy stream strength stress stretch strike
structure struggle stuff style subject substance succeed successful sudden suddenly suffer sugar suit
surface surprise surprised survey survive sweet swim switch symbol systems talent tall tape target task
tasks taste technical technique technology television tend term terms terrible theme thick thin thousand
thousands threat throat tight tiny title tone tongue tool tools tooth topic topics tough tour tower town
track tradition traditional transfer transform transition translate translation transport treat treatment
trial trip truck truly truth typical ugly ultimate uncle union unique universal universe university unusual
upper urban urge usual valley valuable variety various vast vehicle victim victory video village violence
vision voice volume wait wall waste wave waves weak wealth weapon weekend weekly weigh western wheel
whenever wherever whom widely willing wing winner wire wisdom wise wooden worse worst yard youth zero zone
"""

COMMON_WORDS: tuple[str, ...] = tuple(_COMMON.split())
