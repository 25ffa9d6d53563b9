import com.thoughtworks.xstream.XStream;
import java.lang.reflect.Field;
import java.nio.file.Path;
import org.apache.jmeter.NewDriver;
import org.apache.jmeter.save.SaveService;
import org.apache.jmeter.util.JMeterUtils;

/**
 * Starts JMeter 2.13 after telling its XStream that JMeter's own classes may be read from a plan.
 *
 * Since 1.4.18 XStream refuses every class that was not allowed beforehand. Later JMeters allow their own; 2.13 knows nothing
 * of it, so over a newer XStream (as in Debian 12) it refuses every plan. Only JMeter's own packages are allowed here.
 */
final class AllowJMeterClasses {
    private static final String[] OWN = {"org.apache.jmeter.**", "org.apache.jorphan.**"};

    public static void main(String[] arguments) throws Exception {
        String home = System.getProperty("jmeter.home");
        JMeterUtils.setJMeterHome(home);
        JMeterUtils.loadJMeterProperties(Path.of(home, "bin", "jmeter.properties").toString());
        for (String saver : new String[] {"JMXSAVER", "JTLSAVER"}) {
            Field field = SaveService.class.getDeclaredField(saver);
            field.setAccessible(true);
            ((XStream) field.get(null)).allowTypesByWildcard(OWN);
        }
        NewDriver.main(arguments);
    }
}
